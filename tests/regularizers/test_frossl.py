"""FroSSL against the formula of its paper, and what it makes of codes that are white, repeat or have shrunk."""

import math

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from spectral import SHAPES, assert_same, rotation, views

from ebm.regularizers import FroSSL


def official(codes, epsilon=0.0):
    """github.com/OFSkean/FroSSL, solo/losses/frossl.py, for two views, without its invariance; written by eigenvalues.

    `-log |K|_F^2` of a matrix of trace one is the collision entropy of its eigenvalues.
    """
    entropies = []
    for h in codes:
        z = (h - h.mean(0)) / (h.var(0, correction=0) + epsilon).sqrt()
        values = torch.linalg.eigvalsh(sum(torch.outer(row, row) for row in z))
        entropies.append(-(values / values.sum()).square().sum().log())
    return -sum(entropies)


def whitened(n, d):
    return torch.linalg.qr(normal(n, d) - normal(n, d).mean(0))[0] * n**0.5


@pytest.mark.parametrize(("n", "d"), [shape for shape in SHAPES if shape[0] > 2])
@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_is_the_official_loss_but_for_a_constant(n, d, epsilon, scale, count):
    codes = views(n, d, count, scale)
    shifted = official(codes, epsilon) + count * math.log(min(n - 1, d))
    assert_same(FroSSL(epsilon)(*codes), shifted, codes)


def test_codes_that_are_white_cost_nothing():
    assert FroSSL()(whitened(32, 4)).item() == pytest.approx(0, abs=1e-12)  # roundings of log 4


def test_of_fewer_samples_than_features_those_of_one_product_with_each_other_cost_nothing():
    # The corners of a tetrahedron, each coordinate of which is one feature: all of variance one.
    corners = torch.tensor([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)
    assert FroSSL()(corners.repeat(1, 3)).item() == pytest.approx(0, abs=1e-12)  # roundings of log 3


@pytest.mark.parametrize("branches", [1, 2, 3])
def test_features_that_repeat_cost_the_logarithm_of_their_number_in_each_branch(branches):
    repeated = normal(32, 1).expand(32, 4)
    assert FroSSL()(*[repeated] * branches).item() == pytest.approx(branches * math.log(4), rel=1e-12)


def test_a_feature_that_is_constant_counts_as_missing():
    three = torch.cat([whitened(32, 3), torch.ones(32, 1, dtype=torch.float64)], 1)
    assert FroSSL()(three).item() == pytest.approx(math.log(4 / 3), rel=1e-12)


def test_codes_at_one_point_cost_as_much_as_those_on_a_line():
    assert FroSSL()(torch.ones(8, 4)).item() == pytest.approx(math.log(4), rel=1e-6)  # single precision


def test_two_samples_are_on_a_line_and_cost_nothing():
    assert FroSSL()(normal(2, 5)).item() == pytest.approx(0, abs=1e-12)  # roundings of log 1


@given(seed=st.integers(0, 2**16))
def test_it_does_not_see_the_scale_of_a_feature(seed):
    h = normal(9, 4, seed=seed)
    scales = 10 * normal(4, seed=seed + 1).abs() + 0.01
    torch.testing.assert_close(FroSSL(0.0)(h * scales), FroSSL(0.0)(h), rtol=1e-9, atol=1e-9)  # of variances of 1e-4


def test_it_does_not_see_a_rotation_of_features_that_stay_of_one_variance():
    h = whitened(32, 4)
    assert FroSSL()(h @ rotation(4)).item() == pytest.approx(0, abs=1e-12)  # roundings of log 4
