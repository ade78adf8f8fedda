from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import normal
from scipy.stats import kstest

from ebm.worlds import Pond, Uniform, simulate
from ebm.worlds.bouncing import bounced

PROCESSES = ["none", "independent", "drifting", "autoregressive", "static"]


def trajectories(world, count=400, steps=5, seed=0):
    """Places of balls and leaves at all times, `(count, steps + 1, n, 2)`."""
    states = simulate(world, Uniform(), count, steps, torch.Generator().manual_seed(seed)).states
    return {name: places.unflatten(-1, (-1, 2)) for name, places in world.truth(states).items()}


def slow_bounce(position, velocity, low, high):
    """A step in a thousand parts, each of which turns back at a wall."""
    for _ in range(1000):
        position += velocity / 1000
        if not low <= position <= high:
            velocity = -velocity
            position += velocity / 500
    return position, velocity


@pytest.mark.parametrize("speed", [0.7, 3.0, 41.0])  # the last meets both walls several times in a step
def test_a_fold_of_the_path_is_many_small_bounces(speed):
    for start in (1.0, 2.5, 8.9):
        for velocity in (speed, -speed):
            place, sign = bounced(torch.tensor(start + velocity, dtype=torch.float64), 1.0, 9.0)
            expected, turned = slow_bounce(start, velocity, 1.0, 9.0)
            # Each of the bounces of the slow one, of 11 at most, is off by two of its small steps.
            assert abs(float(place) - expected) < 25 * speed / 1000
            assert float(sign) * velocity == turned


def test_balls_stay_on_the_pond_and_keep_their_speed():
    world = Pond(balls=3)
    states = simulate(world, Uniform(), 300, 30, torch.Generator().manual_seed(0)).states
    _, balls, velocity, _, _ = world._parts(states)
    assert balls.min() >= 1
    assert balls.max() <= world.size - 2
    torch.testing.assert_close(velocity.norm(dim=-1), torch.full(velocity.shape[:-1], 1.2))


def test_a_push_of_the_ball_is_added_to_its_velocity_up_to_twice_its_speed():
    world = Pond("none", push=0.5)
    state = torch.tensor([[5.0, 5.0, 5.0, 5.0, 1.2, 0.0]])
    after = world.step(state, torch.tensor([[0.4, -2.0]]))  # the second is put back to -1
    torch.testing.assert_close(after, torch.tensor([[5.0, 5.0, 6.4, 4.5, 1.4, -0.5]]))
    for _ in range(5):
        state = world.step(state, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(state[:, 4:].norm(), torch.tensor(2.4))
    assert world.actions == 2
    assert replace(world, push=0.0).actions == 0


def test_only_the_first_ball_is_pushed():
    world, actions = Pond("none", balls=2, push=0.5), torch.ones(4, 2)
    states = world.start(4, torch.Generator().manual_seed(0))
    unmoved, pushed = world.step(states, 0 * actions), world.step(states, actions)
    first, second = torch.tensor([4, 5, 8, 9]), torch.tensor([0, 1, 2, 3, 6, 7, 10, 11])  # places before are those now
    assert not torch.isclose(unmoved[:, first], pushed[:, first]).all(0).any()
    assert torch.equal(unmoved[:, second], pushed[:, second])


def test_independent_leaves_are_uniform_on_the_bank_and_forget_where_they_were():
    leaves = trajectories(Pond(), count=2000, steps=1)["leaves"].double()
    down, right = leaves[:, 1, :, 0].flatten() / 11, (leaves[:, 1, :, 1].flatten() - 13) / 6
    assert kstest(down, "uniform").pvalue > 1e-3
    assert kstest(right, "uniform").pvalue > 1e-3
    assert leaves.shape == (2000, 2, 4, 2)
    within = leaves - leaves.mean((0, 1, 2))
    correlation = (within[:, 0] * within[:, 1]).mean((0, 1)) / within.square().mean((0, 1, 2))
    assert correlation.abs().max() < 4 / 8000**0.5  # four standard errors


def test_static_leaves_lie_where_they_began_and_elsewhere_in_other_trajectories():
    leaves = trajectories(Pond("static"))["leaves"]
    assert torch.equal(leaves, leaves[:, :1].expand_as(leaves))
    assert leaves.std(0).min() > 1


def test_drifting_leaves_walk_and_turn_back_at_the_edges():
    world = Pond("drifting", drift=0.3)
    leaves = trajectories(world, count=2000, steps=10)["leaves"]
    moves = leaves.diff(dim=1)
    inner = ((leaves[:, :-1] - torch.tensor([5.5, 16.0])).abs() < torch.tensor([4.0, 1.5])).all(-1)
    # 5 deviations away from all edges: a normal step, whose deviation is known to 1 part in sqrt(2 n), n of 40,000.
    torch.testing.assert_close(moves[inner].std(), torch.tensor(0.3), rtol=0.02, atol=0)
    assert (leaves.amin((0, 1, 2)) >= torch.tensor([0.0, 13.0])).all()
    assert (leaves.amax((0, 1, 2)) <= torch.tensor([11.0, 19.0])).all()


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.9])
def test_the_correlation_of_autoregressive_leaves_is_their_persistence(persistence):
    leaves = trajectories(Pond("autoregressive", persistence=persistence, bank=40), count=4000, steps=4)["leaves"]
    within = leaves[..., 1] - leaves[..., 1].mean()
    found = (within[:, 3] * within[:, 4]).mean() / within.square().mean()
    # Two standard errors of 16,000 numbers are .016; the edges, two deviations away, turn 5 % of them back.
    assert abs(float(found) - persistence) < 0.05
    spread = within.std((0, 2))
    torch.testing.assert_close(spread, spread[:1].expand_as(spread), rtol=0.05, atol=0)  # as wide from the start on


@pytest.mark.parametrize("process", PROCESSES)
def test_a_picture_holds_a_round_spot_for_each_ball_and_leaf(process):
    world = Pond(process, balls=2, ball=0.3, amplitude=0.2)
    states = world.start(3, torch.Generator().manual_seed(0)).double()
    rows, columns = np.mgrid[:12, :20]
    last, now, _, before, leaves = (part.numpy() for part in world._parts(states))
    for sample in range(3):
        for channel, (balls, fallen) in enumerate([(last, before), (now, leaves)]):
            spots = [(0.3, p) for p in balls[sample]] + [(0.2, p) for p in fallen[sample]]
            expected = sum(b * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2) for b, (y, x) in spots)
            seen = world.observe(states)[sample, channel].numpy()
            np.testing.assert_allclose(seen, np.minimum(expected, 1), atol=1e-12)  # rounding


def test_what_was_seen_last_is_seen_before_what_is_seen_now():
    world = Pond("drifting")
    states = simulate(world, Uniform(), 3, 4, torch.Generator().manual_seed(0)).states
    seen = world.observe(states)
    assert torch.equal(seen[:, 1:, 0], seen[:, :-1, 1])


def test_leaves_are_far_from_the_ball_and_never_change_its_pixels():
    with_leaves, without = Pond("static", bank=12), Pond("none", bank=12)
    states = with_leaves.start(50, torch.Generator().manual_seed(0))
    seen, bare = with_leaves.observe(states), without.observe(states[:, :6])
    # A leaf is three columns away from the last one that a ball's middle reaches.
    torch.testing.assert_close(seen[..., :10], bare[..., :10], atol=0.05, rtol=0)


def test_the_derivative_of_what_is_seen_by_the_push_is_that_of_finite_differences():
    world = Pond("static", push=0.5, leaves=1, size=4, bank=3, speed=0.3)
    states = world.start(2, torch.Generator().manual_seed(1)).double()
    actions = (0.3 * normal(2, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: world.observe(world.step(states, a)).mean((-1, -2)), (actions,))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"process": "falling"}, "independent"),
        ({"leaves": 0}, "leaves must be at least 1"),
        ({"balls": 0}, "balls"),
        ({"size": 3}, "size"),
        ({"amplitude": 1.5}, "amplitude must be from 0 to 1, got 1.5"),
        ({"ball": -0.1}, "ball"),
        ({"persistence": float("nan")}, "persistence"),
        ({"push": -1.0}, "push"),
        ({"speed": float("inf")}, "speed"),
    ],
)
def test_a_setting_out_of_range_is_named(settings, told):
    with pytest.raises(ValueError, match=told):
        Pond(**settings)


def test_a_state_of_another_pond_is_refused():
    with pytest.raises(ValueError, match="22 features, got"):
        Pond().observe(torch.zeros(3, 6))


def test_leaves_left_to_chance_do_not_move_without_it():
    world = Pond("drifting")
    with pytest.raises(ValueError, match="give step the noise"):
        world.step(world.start(2, torch.Generator()), torch.zeros(2, 0))
