import math

import pytest
import torch
from conftest import normal
from dependence import assert_same

from ebm.regularizers import Uniformity


def written_out(t):
    def formula(codes):
        points = [h / h.square().sum().sqrt() for h in codes]
        potentials = [
            torch.exp(-t * (p - q).square().sum()) for i, p in enumerate(points) for q in points[:i] + points[i + 1 :]
        ]
        return torch.log(sum(potentials) / len(potentials))

    return formula


@pytest.mark.parametrize("t", [0.5, 2.0])
@pytest.mark.parametrize("shape", [(2, 3), (12, 4), (9, 20)], ids=str)
def test_it_is_the_formula(shape, t):
    assert_same(Uniformity(t), written_out(t), normal(*shape) + 0.5)


def test_opposite_points_cost_least_and_points_that_are_one_cost_nothing():
    ends = torch.tensor([[2.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    assert Uniformity()(ends).item() == pytest.approx(-8, rel=1e-12)
    # At zero but for a rounding of distances.
    assert Uniformity()(ends.abs()).item() == pytest.approx(0, abs=1e-12)


def test_it_falls_as_points_spread_to_what_the_uniform_distribution_has():
    spread = Uniformity()(normal(4000, 3))
    # Over the sphere in 3 dimensions the cosine is uniform: E exp(-4 (1 - c)) = (1 - exp(-8)) / 8.
    # A mean over 4000 points has an error of 1 / 4000 of a standard deviation of one or so.
    assert spread.item() == pytest.approx(math.log((1 - math.exp(-8)) / 8), abs=5e-3)
    assert Uniformity()(normal(4000, 3) + 1) > spread + 0.1


def test_it_does_not_see_lengths_nor_rotations():
    codes = normal(20, 4)
    rotation, _ = torch.linalg.qr(normal(4, 4, seed=1))
    lengths = normal(20, 1, seed=2).abs() + 0.1
    # The same distances, rounded otherwise.
    torch.testing.assert_close(Uniformity()(lengths * codes @ rotation), Uniformity()(codes), rtol=1e-12, atol=1e-12)


def test_it_is_the_mean_over_branches():
    a, b = normal(8, 3), normal(8, 3, seed=1)
    torch.testing.assert_close(Uniformity()(a, b), (Uniformity()(a) + Uniformity()(b)) / 2, rtol=1e-14, atol=1e-14)
