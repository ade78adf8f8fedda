import numpy as np
import pytest
import torch
from scipy.stats import binomtest, kstest, norm
from sklearn.datasets import make_moons

from ebm.data import Checkerboard, EightGaussians, Rings, TwoMoons

ALL = [TwoMoons, EightGaussians, Checkerboard, Rings]
every_distribution = pytest.mark.parametrize("kind", ALL)
# The points are the same at each call, so that a test fails always or never: one of a hundred would by chance.
CHANCE = 0.01


def part(source, split="test"):
    rows = source.load(split)
    points, labels = rows[list(range(len(rows)))]
    return points, labels


@every_distribution
def test_points_are_pairs_of_numbers_with_a_label_each(kind):
    for split, count in (("train", 70), ("test", 30)):
        points, labels = part(kind(train=70, held_out=30), split)
        assert points.shape == (count, 2)
        assert (points.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert labels.shape == (count,)


@every_distribution
def test_a_part_is_the_same_at_each_call_and_the_other_part_and_another_seed_have_none_of_it(kind):
    points = part(kind())[0]
    assert torch.equal(points, part(kind())[0])
    for other in (part(kind(), "train")[0], part(kind(seed=1))[0]):
        assert torch.cdist(points, other, compute_mode="donot_use_mm_for_euclid_dist").min() > 0


@every_distribution
def test_loading_leaves_the_global_generators_alone(kind):
    before, numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    kind().load("train")
    assert before.equal(torch.get_rng_state())
    assert (numpy == np.random.get_state()[1]).all()


@every_distribution
def test_parts_are_equally_likely_and_the_whole_is_centred(kind):
    points, labels = part(kind())
    counts = labels.bincount().tolist()
    assert len(counts) == {TwoMoons: 2, EightGaussians: 8, Checkerboard: 8, Rings: 3}[kind]
    assert all(binomtest(count, 4000, 1 / len(counts)).pvalue > CHANCE / len(counts) for count in counts)
    # The mean of 4,000 points that are some 1.5 wide; four standard deviations.
    assert points.mean(0).abs().max() < 4 * 1.5 / 4000**0.5


def test_moons_without_noise_lie_on_those_of_scikit_learn():
    points, labels = part(TwoMoons(noise=0.0))
    arcs, moons = make_moons(20_000, shuffle=False)
    for moon in (0, 1):
        found = points[labels == moon].double() + torch.tensor([0.5, 0.25])
        # Neighbours on scikit-learn's arcs are pi / 10,000 apart; the rest is single precision.
        near = torch.cdist(found, torch.from_numpy(arcs[moons == moon])).amin(1)
        assert near.max() < np.pi / 10_000


def test_noise_across_a_moon_is_normal():
    points, labels = part(TwoMoons(noise=0.01))
    centre = torch.tensor([[-0.5, -0.25], [0.5, 0.25]])[labels]
    across = (points - centre).norm(dim=1).double() - 1
    # To first order in the noise, 0.01, which moves the radius by 0.01^2 / 2: too little for 4,000 points to tell.
    assert kstest(across / 0.01, norm.cdf).pvalue > CHANCE


def test_gaussians_stand_on_a_circle_and_are_round():
    points, labels = part(EightGaussians(radius=3.0, deviation=0.2))
    angles = labels * torch.pi / 4
    offsets = (points - 3 * torch.stack([angles.cos(), angles.sin()], 1)).double() / 0.2
    assert all(kstest(offsets[:, i], norm.cdf).pvalue > CHANCE for i in (0, 1))


def test_the_checkerboard_has_points_on_dark_squares_alone_and_all_over_them():
    points, labels = part(Checkerboard())
    squares = points.floor().long()
    assert points.abs().max() <= 2
    assert (squares.sum(1) % 2 == 0).all()
    assert len(torch.cat([squares, labels[:, None]], 1).unique(dim=0)) == 8
    assert all(kstest((points - squares)[:, i].double(), "uniform").pvalue > CHANCE for i in (0, 1))


def test_rings_have_three_radii_and_all_directions():
    points, labels = part(Rings())
    radii = points.norm(dim=1).double()
    assert kstest((radii - 0.7 * (labels + 1)) / 0.05, norm.cdf).pvalue > CHANCE
    angles = torch.atan2(points[:, 1], points[:, 0]).double() / (2 * torch.pi) + 0.5
    assert kstest(angles, "uniform").pvalue > CHANCE
