from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.utils.data import TensorDataset

from ebm.data.digits import Digits
from ebm.data.source import Source
from ebm.worlds import MovingDigits, Uniform, simulate


@dataclass(frozen=True)
class Squares(Source):
    """Two pictures of one channel: all of it, and its left half."""

    channels: int = 1

    def load(self, split):
        pictures = torch.ones(2, self.channels, 4, 4)
        pictures[1, :, :, 2:] = 0
        return TensorDataset(pictures, torch.tensor([5, 7]))


def states(world, count=200, steps=20, seed=0):
    return simulate(world, Uniform(), count, steps, torch.Generator().manual_seed(seed)).states


@pytest.mark.parametrize("random", [False, True])
def test_digits_stay_on_the_canvas_and_keep_their_speed_and_their_label(random):
    world = MovingDigits(random=random)
    seen = states(world)
    _, _, velocity, which = world._parts(seen)
    truth = world.truth(seen)
    assert truth["position"].min() >= 0
    assert truth["position"].max() <= 18
    torch.testing.assert_close(velocity.norm(dim=-1), torch.full(velocity.shape[:-1], 2.0))
    assert torch.equal(which, which[:, :1].expand_as(which))
    assert set(truth["label"].unique().tolist()) == set(range(10))


def test_at_random_a_digit_leaves_an_edge_in_any_direction_away_from_it():
    world = MovingDigits(digits=1, random=True, source=Squares(), speed=1.0)
    count = 2000
    at_left = torch.tensor([9.0, 0.5, 9.0, 0.2, 0.0, -1.0, 0.0]).expand(count, 7)
    after = world.step(at_left, torch.zeros(count, 0), world.noise(at_left, torch.Generator().manual_seed(0)))
    down, right = after[:, 4], after[:, 5]
    assert (right >= 0).all()
    assert kstest(torch.atan2(down, right) / torch.pi + 0.5, "uniform").pvalue > 1e-3
    assert torch.equal(after[:, :2], at_left[:, 2:4])
    torch.testing.assert_close(after[:, 3], torch.full((count,), 0.8))


def test_a_digit_that_meets_no_edge_goes_straight_on():
    world = MovingDigits(digits=1, random=True, source=Squares())
    state = torch.tensor([[8.0, 8.0, 9.0, 9.0, 1.2, -1.6, 1.0]])
    after = world.step(state, torch.zeros(1, 0), torch.tensor([[0.3]]))
    torch.testing.assert_close(after, torch.tensor([[9.0, 9.0, 10.2, 7.4, 1.2, -1.6, 1.0]]))


def test_a_picture_drawn_at_its_own_size_on_whole_pixels_is_the_picture():
    world = MovingDigits(digits=1, digit=8)
    pictures = Digits().load("train").tensors[0]
    state = torch.tensor([[0.0, 0.0, 5.0, 11.0, 0.0, 0.0, 42.0]])
    canvas = torch.zeros(32, 32)
    canvas[5:13, 11:19] = pictures[42, 0]
    torch.testing.assert_close(world.observe(state)[0, 1], canvas)


def test_between_pixels_a_picture_is_the_mean_of_its_neighbours():
    world = MovingDigits(digits=1, digit=8)
    rows = torch.tensor([[0.0, 0.0, y, x, 0.0, 0.0, 3.0] for y, x in [(4.0, 6.0), (5.0, 6.0), (4.5, 6.0)]])
    above, below, between = world.observe(rows)[:, 1]
    torch.testing.assert_close(between, (above + below) / 2)


def test_a_picture_drawn_larger_covers_as_many_times_the_area():
    source = Squares()
    small, large = (MovingDigits(digits=1, digit=n, source=source) for n in (8, 16))
    state = torch.tensor([[0.0, 0.0, 6.0, 6.0, 0.0, 0.0, 0.0]])
    sums = [float(world.observe(state)[0, 1].sum()) for world in (small, large)]
    # Linear interpolation keeps the area of a square but at its corners, where it is dark outside.
    np.testing.assert_allclose(sums, [64, 256], rtol=0.02)


def test_where_digits_meet_their_sum_is_cut_at_one():
    world = MovingDigits(digits=2, source=Squares())
    state = torch.tensor([[0.0] * 4 + [9.0] * 4 + [0.0] * 6])
    assert world.observe(state).max() == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"digits": 0}, "digits must be at least 1"),
        ({"canvas": 14}, "no room to move"),
        ({"speed": -1.0}, "speed"),
        ({"episode": 0}, "episode"),
    ],
)
def test_a_setting_out_of_range_is_named(settings, told):
    with pytest.raises(ValueError, match=told):
        MovingDigits(**settings)


def test_pictures_of_several_channels_are_refused():
    with pytest.raises(ValueError, match=r"one channel, got \(3, 4, 4\)"):
        MovingDigits(source=Squares(3)).start(2, torch.Generator())


def test_random_bounces_need_their_noise():
    world = MovingDigits(random=True)
    with pytest.raises(ValueError, match="give step the noise"):
        world.step(world.start(2, torch.Generator()), torch.zeros(2, 0))
