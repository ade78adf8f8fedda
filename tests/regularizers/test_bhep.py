"""BHEP against its integral, its definition as a distance of kernels, and what it is for."""

import math

import numpy as np
import pytest
import torch
from conftest import normal
from dependence import assert_same, parabola, parity, surprise

from ebm.data import Spiral
from ebm.regularizers import BHEP, SIGReg

shapes = pytest.mark.parametrize("shape", [(2, 3), (40, 4), (9, 20)], ids=str)
betas = pytest.mark.parametrize("beta", [0.5, 1.0, 3.0])


def written_out(codes, beta):
    """The closed form, pair by pair."""
    b, (n, d) = beta**2, codes.shape
    pairs = sum((-b / 2 * (codes[i] - codes[j]).square().sum()).exp() for i in range(n) for j in range(n))
    single = sum((-b / 2 / (1 + b) * codes[i].square().sum()).exp() for i in range(n))
    return pairs / n - 2 * (1 + b) ** (-d / 2) * single + n * (1 + 2 * b) ** (-d / 2)


@betas
@shapes
def test_it_is_the_closed_form(shape, beta):
    assert_same(BHEP(beta), lambda codes: written_out(codes, beta), (normal(*shape) + 0.5) / (1 + beta))


@betas
def test_it_is_the_integral_over_the_characteristic_function(beta):
    codes = normal(30, 2) + 0.3
    points, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(200))
    t = beta * torch.cartesian_prod(points, points)
    weight = torch.outer(weights, weights).flatten() / (2 * math.pi)
    difference = torch.exp(1j * (codes @ t.T)).mean(0) - torch.exp(-t.square().sum(1) / 2)
    integral = 30 * (difference.abs().square() * weight).sum()
    # Quadrature of functions that turn as fast as codes are far apart, here up to 5.
    assert BHEP(beta)(codes).item() == pytest.approx(integral.item(), rel=1e-6)


def test_in_one_dimension_its_directions_are_those_of_sigreg():
    # The weight exp(-t^2 / 2) of SIGReg is that of beta = 1, times sqrt(2 pi); its reach of 3 leaves 0.3 % of it out.
    codes = normal(200, 1).square()
    expected = SIGReg(slices=4, knots=200, reach=8.0)(codes) / (2 * math.pi) ** 0.5
    assert BHEP()(codes).item() == pytest.approx(expected.item(), rel=1e-6)


@betas
def test_a_rotation_is_nothing_to_it(beta):
    codes, (rotation, _) = parabola(100), torch.linalg.qr(normal(2, 2))
    torch.testing.assert_close(BHEP(beta)(codes @ rotation), BHEP(beta)(codes), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("codes", [parabola, parity])
def test_dependence_of_two_and_of_three_dimensions_is_seen(codes):
    assert surprise(BHEP(), codes()) > 5  # standard deviations of 20 shuffles, which a chance all but never reaches


def test_a_spiral_is_seen_by_higher_frequencies():
    points, _ = Spiral().draw(512, np.random.default_rng(0))
    codes = torch.from_numpy(points)
    assert surprise(BHEP(3.0), codes) > 2 * surprise(BHEP(1.0), codes)


def test_blocks_of_rows_add_up(monkeypatch):
    monkeypatch.setattr("ebm.regularizers.blocks.SIZE", 64)
    assert_same(BHEP(), lambda codes: written_out(codes, 1.0), normal(40, 3))


def test_codes_far_from_the_origin_keep_their_digits():
    codes = normal(64, 4)
    apart = 64 * BHEP()(codes.float() + 1000) - 64 * BHEP()(codes + 1000)
    assert abs(apart.item()) < 64 * 64 * 1e-3  # of a place that single precision knows to 6e-5


def test_without_a_beta_it_takes_that_of_henze_and_zirkler():
    codes = normal(512, 8)
    beta = (17 * 512 / 4) ** (1 / 12) / 2**0.5
    torch.testing.assert_close(BHEP(None)(codes), BHEP(beta)(codes), rtol=1e-12, atol=0)


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_a_beta_that_is_not_positive_is_refused(beta):
    with pytest.raises(ValueError, match="above 0"):
        BHEP(beta)
