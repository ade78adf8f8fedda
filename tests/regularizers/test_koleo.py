import math

import pytest
import torch
from conftest import normal
from dependence import assert_same

from ebm.regularizers import KoLeo


def written_out(codes):
    """Every pair of points of the sphere, one after the other; a mean of -log(distance + 1e-8)."""
    points = [h / h.square().sum().sqrt() for h in codes]
    total = 0
    for i, p in enumerate(points):
        distances = [(p - q).square().sum().sqrt() for j, q in enumerate(points) if j != i]
        total = total - torch.log(min(distances) + 1e-8)
    return total / len(points)


@pytest.mark.parametrize("shape", [(2, 3), (12, 4), (9, 20)], ids=str)
def test_it_is_the_formula(shape):
    assert_same(KoLeo(), written_out, normal(*shape) + 0.5)


def test_points_on_a_square_cost_minus_the_logarithm_of_its_side():
    square = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [0.0, -5.0]], dtype=torch.float64)
    # But for epsilon: 1e-8 of 1.4.
    assert KoLeo()(square).item() == pytest.approx(-math.log(2**0.5), abs=1e-8)


def test_two_copies_cost_the_logarithm_of_epsilon_and_do_not_push():
    codes = normal(4, 3).repeat(2, 1).requires_grad_()
    value = KoLeo(epsilon=1e-6)(codes)
    value.backward()
    assert value.item() == pytest.approx(-math.log(1e-6), rel=1e-12)
    assert not codes.grad.any()


def test_it_does_not_see_lengths_nor_rotations():
    codes = normal(20, 4)
    rotation, _ = torch.linalg.qr(normal(4, 4, seed=1))
    lengths = normal(20, 1, seed=2).abs() + 0.1
    # The same distances, rounded otherwise.
    torch.testing.assert_close(KoLeo()(lengths * codes @ rotation), KoLeo()(codes), rtol=1e-12, atol=1e-12)


def test_the_nearest_is_found_among_points_that_are_all_but_one():
    # On the sphere they lie within 1e-3 of one another, where products in single precision tell no distances apart.
    codes = torch.cat([torch.ones(40, 1), 1e-3 * normal(40, 3)], 1)
    # Distances of 1e-4, of coordinates that are rounded at 6e-8.
    torch.testing.assert_close(KoLeo()(codes.float()).double(), KoLeo()(codes), rtol=1e-4, atol=1e-4)


def test_it_is_the_mean_over_branches():
    a, b = normal(8, 3), normal(8, 3, seed=1)
    torch.testing.assert_close(KoLeo()(a, b), (KoLeo()(a) + KoLeo()(b)) / 2, rtol=1e-14, atol=1e-14)
