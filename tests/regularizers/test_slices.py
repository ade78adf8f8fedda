"""Tests of normality along random directions: the statistics, against SciPy and integrals, and how they are drawn."""

import pytest
import torch
from conftest import normal
from dependence import assert_same, value_of
from scipy import stats
from scipy.integrate import quad

from ebm.regularizers import SIGReg, SlicedAndersonDarling, SlicedCramerVonMises, SlicedWasserstein

KINDS = [SIGReg, SlicedCramerVonMises, SlicedAndersonDarling, SlicedWasserstein]
every_kind = pytest.mark.parametrize("kind", KINDS)
samples = pytest.mark.parametrize("shift", [0.0, 1.5], ids=["near", "far"])


def along_directions(statistic, slices):
    """The formula of a statistic of one dimension, along each direction in turn."""

    def formula(codes):
        drawn = torch.randn(slices, codes.shape[1]).double()
        values = [statistic((codes * (a / a.norm())).sum(1).sort().values) for a in drawn]
        return sum(values) / slices

    return formula


def cramer_von_mises(x):
    n, standard = len(x), torch.distributions.Normal(0.0, 1.0)
    return 1 / (12 * n) + sum(((2 * i - 1) / (2 * n) - standard.cdf(x[i - 1])) ** 2 for i in range(1, n + 1))


def anderson_darling(x):
    n, standard = len(x), torch.distributions.Normal(0.0, 1.0)
    terms = [(2 * i - 1) * (standard.cdf(x[i - 1]).log() + (1 - standard.cdf(x[n - i])).log()) for i in range(1, n + 1)]
    return -n - sum(terms) / n


def wasserstein(x):
    """`E x^2 - 2 sum_i x_i integral_{(i - 1)/N}^{i/N} Phi^-1(u) du + 1`."""
    n = len(x)
    shares = [quad(stats.norm.ppf, i / n, (i + 1) / n, epsabs=1e-13)[0] for i in range(n)]
    return x.square().mean() - 2 * sum(a * share for a, share in zip(x, shares, strict=True)) + 1


@samples
@pytest.mark.parametrize(
    ("kind", "statistic"),
    [
        (SlicedCramerVonMises, cramer_von_mises),
        (SlicedAndersonDarling, anderson_darling),
        (SlicedWasserstein, wasserstein),
    ],
)
def test_it_is_the_formula_along_each_direction(kind, statistic, shift):
    assert_same(kind(slices=8), along_directions(statistic, 8), normal(13, 3) + shift)


@samples
def test_cramer_and_von_mises_is_that_of_scipy(shift):
    codes = normal(30, 1) + shift
    expected = stats.cramervonmises(codes[:, 0].numpy(), "norm").statistic
    assert SlicedCramerVonMises(slices=3).statistic(codes.T).item() == pytest.approx(expected, rel=1e-12)


@samples
def test_anderson_and_darling_is_that_of_scipy(shift):
    codes = normal(30, 1) + shift
    known = {"loc": 0.0, "scale": 1.0}
    fit = stats.goodness_of_fit(
        stats.norm, codes[:, 0].numpy(), known_params=known, statistic="ad", n_mc_samples=1, rng=0
    )
    assert SlicedAndersonDarling().statistic(codes.T).item() == pytest.approx(fit.statistic, rel=1e-10)


def test_anderson_and_darling_pulls_back_what_is_far_out_by_its_distance():
    samples = torch.tensor([[-1e4, 0.0]], requires_grad=True)
    SlicedAndersonDarling().statistic(samples).backward()
    # -1 / N log Phi(x), which is x^2 / 2N there; to a rounding of single precision.
    assert samples.grad[0, 0].item() == pytest.approx(-1e4 / 2, rel=1e-6)


def test_wasserstein_from_a_normal_of_another_mean_and_scale_has_a_closed_form():
    # W_2^2 of N(m, s^2) and N(0, 1) is m^2 + (s - 1)^2; 20000 quantiles stand for the distribution to 1e-3.
    quantiles = torch.special.ndtri((torch.arange(20000, dtype=torch.float64) + 0.5) / 20000)
    value = SlicedWasserstein().statistic((0.7 + 1.5 * quantiles)[None])
    assert value.item() == pytest.approx(0.7**2 + 0.5**2, abs=1e-3)


def test_no_samples_of_finite_number_are_at_no_wasserstein_distance_from_a_normal():
    best = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    samples = torch.special.ndtri(best)[None].requires_grad_()
    for _ in range(100):
        (slope,) = torch.autograd.grad(SlicedWasserstein().statistic(samples).sum(), samples)
        samples = (samples - 2 * slope).detach().requires_grad_()
    # What is left is the spread of a normal within each of 16 equal shares.
    within = 1 - (16 * sum(quad(stats.norm.ppf, i / 16, (i + 1) / 16)[0] ** 2 for i in range(16)))
    assert SlicedWasserstein().statistic(samples).item() == pytest.approx(within, rel=1e-6)
    assert within > 0.01


@every_kind
def test_directions_are_drawn_at_every_call_and_a_seed_tells_which(kind):
    codes = normal(20, 4)
    assert value_of(kind(), codes) == value_of(kind(), codes)
    assert kind()(codes) != kind()(codes)


@every_kind
def test_branches_are_looked_at_along_the_same_directions(kind):
    a, b = normal(20, 4), normal(20, 4, seed=1)
    assert value_of(kind(), a, a) == value_of(kind(), a)
    both = value_of(kind(), a, b)
    torch.testing.assert_close(both, (value_of(kind(), a) + value_of(kind(), b)) / 2, rtol=1e-14, atol=1e-14)


@every_kind
def test_single_precision_looks_along_the_directions_of_double(kind):
    codes = normal(50, 4)
    # Roundings of 6e-8, of sums of 50.
    torch.testing.assert_close(value_of(kind(), codes.float()).double(), value_of(kind(), codes), rtol=1e-5, atol=1e-5)


@every_kind
def test_over_all_directions_a_rotation_is_nothing(kind):
    codes = normal(40, 3) @ normal(3, 3, seed=1)
    rotation, _ = torch.linalg.qr(normal(3, 3, seed=2))
    # 20000 directions: a mean that is known to a hundredth of the spread over directions.
    here, there = (value_of(kind(slices=20000), h) for h in (codes, codes @ rotation))
    torch.testing.assert_close(here, there, rtol=0.03, atol=0)


@every_kind
def test_a_mean_that_is_not_zero_and_a_scale_that_is_not_one_are_seen(kind):
    codes = normal(200, 4)
    for other in (codes + 1, 0.5 * codes, 2 * codes):
        assert value_of(kind(), other) > 2 * value_of(kind(), codes)


@every_kind
def test_branches_of_different_width_are_refused(kind):
    with pytest.raises(ValueError, match=r"same directions, got \(8, 3\), \(8, 4\)"):
        kind()(normal(8, 3), normal(8, 4))


@every_kind
def test_no_direction_is_refused(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs at least 1 direction.* slices=0"):
        kind(slices=0)
