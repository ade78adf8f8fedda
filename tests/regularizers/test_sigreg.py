"""SIGReg against the two forms its authors gave it: algorithm 1 of the paper, and the official code."""

import math

import pytest
import torch
from conftest import normal
from dependence import assert_same, value_of
from scipy.integrate import quad
from torch import nn

from ebm.regularizers import SIGReg

shapes = pytest.mark.parametrize("shape", [(2, 3), (40, 4), (9, 20)], ids=str)


def directions(slices, features):
    """Unit vectors `(features, slices)`, drawn as ours are: in single precision, from the global generator."""
    drawn = torch.randn(slices, features).double().T
    return drawn / drawn.norm(dim=0)


def paper(codes, unit):
    """Algorithm 1: a complex characteristic function on 17 knots from -5 to 5."""
    t = torch.linspace(-5, 5, 17, dtype=torch.float64)
    normal_function = torch.exp(-0.5 * t.square())
    empirical = torch.exp(1j * (codes @ unit)[:, :, None] * t).mean(0)
    error = (empirical - normal_function).abs().square() * normal_function
    return (torch.trapezoid(error, t, dim=1) * len(codes)).mean()


def official(codes, unit):
    """lejepa, MINIMAL.md: 17 knots from 0 to 3, each but the ends counted twice."""
    t = torch.linspace(0, 3, 17, dtype=torch.float64)
    window = torch.exp(-t.square() / 2)
    twice = torch.tensor([1.0] + 15 * [2.0] + [1.0], dtype=torch.float64) * 3 / 16
    angles = (codes @ unit)[:, :, None] * t
    error = (angles.cos().mean(0) - window).square() + angles.sin().mean(0).square()
    return (error @ (twice * window) * len(codes)).mean()


@shapes
def test_as_it_comes_it_is_the_official_code(shape):
    assert_same(SIGReg(), official, normal(*shape) + 0.5, draw=lambda: directions(256, shape[1]))


@shapes
def test_with_nine_knots_to_five_it_is_the_algorithm_of_the_paper(shape):
    ours = SIGReg(knots=9, reach=5.0)
    assert_same(ours, paper, normal(*shape) + 0.5, draw=lambda: directions(256, shape[1]))


def test_paper_and_code_differ_by_a_hundredth_on_normal_codes_and_wholly_on_two_far_clumps():
    paper, official = SIGReg(knots=9, reach=5.0), SIGReg()
    codes = normal(500, 4)
    assert value_of(official, codes).item() == pytest.approx(value_of(paper, codes).item(), rel=2e-2)
    # The knots of the paper are 0.625 apart: samples 2 pi / 0.625 apart are one to them.
    clumps = normal(500, 1)
    moved = clumps + 2 * math.pi / 0.625 * (torch.arange(500).double() % 2)[:, None]
    assert value_of(paper, moved).item() == pytest.approx(value_of(paper, clumps).item(), rel=1e-9)
    assert value_of(official, moved) > 20 * value_of(official, clumps)


def test_with_many_knots_it_is_the_integral_of_epps_and_pulley():
    codes = normal(12, 1)

    def integrand(t):
        empirical = torch.exp(1j * t * codes[:, 0]).mean()
        return abs(empirical - math.exp(-t * t / 2)).item() ** 2 * math.exp(-t * t / 2)

    expected = 12 * quad(integrand, -10, 10, epsabs=1e-12)[0]
    # The trapezoid rule is exact to rounding on what has died out at both ends.
    assert SIGReg(knots=401, reach=10.0)(codes).item() == pytest.approx(expected, rel=1e-9)


def test_normal_codes_cost_the_same_at_any_size_of_the_batch():
    # In expectation the integral of (1 - exp(-t^2)) exp(-t^2 / 2): sqrt(2 pi) (1 - 1 / sqrt(3)), to infinity.
    expected = (2 * math.pi) ** 0.5 * (1 - 3**-0.5)
    for n in (50, 800):
        values = torch.stack([SIGReg(slices=64, reach=6.0)(normal(n, 16, seed=seed)) for seed in range(40)])
        error = values.std() / 40**0.5
        assert abs(values.mean() - expected) < 4 * error


def test_codes_at_one_point_cost_all_there_is():
    codes = torch.zeros(10, 3, dtype=torch.float64)
    # |1 - exp(-t^2 / 2)|^2 exp(-t^2 / 2): three normal integrals.
    expected = 10 * (2 * math.pi) ** 0.5 * (1 - 2 / 2**0.5 + 1 / 3**0.5)
    assert SIGReg(knots=401, reach=10.0)(codes).item() == pytest.approx(expected, rel=1e-9)


def test_training_on_it_alone_makes_a_uniform_cloud_normal():
    codes = nn.Parameter((torch.rand(256, 2, dtype=torch.float64) - 0.5) * 6)
    optimizer = torch.optim.Adam([codes], 0.05)
    for _ in range(150):
        optimizer.zero_grad()
        SIGReg(slices=32)(codes).backward()
        optimizer.step()
    with torch.no_grad():
        covariance = codes.T.cov()
        kurtosis = ((codes - codes.mean(0)) / codes.std(0)).pow(4).mean(0)
    # Within a tenth of the moments of N(0, I), where the cloud began at variance 3 and kurtosis 1.8.
    torch.testing.assert_close(covariance, torch.eye(2, dtype=torch.float64), rtol=0, atol=0.1)
    torch.testing.assert_close(kurtosis, torch.full((2,), 3.0, dtype=torch.float64), rtol=0, atol=0.4)


@pytest.mark.parametrize("knots", [0, 1])
def test_an_integral_between_fewer_than_two_knots_is_refused(knots):
    with pytest.raises(ValueError, match=f"at least 2 knots, got knots={knots}"):
        SIGReg(knots=knots)
