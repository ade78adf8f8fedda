import math

import pytest
import torch
from conftest import normal
from scipy import stats

from ebm import ImportanceSampling, Laplace, Lebesgue, Normal, Uniform, marginalise
from ebm.marginals.marginal import effective_sample_size, sobol

PROPER = pytest.mark.parametrize(
    ("prior", "reference"),
    [
        (Normal(0.7), stats.norm(0, [0.7, 0.7])),
        (Normal((0.7, 2.0)), stats.norm(0, [0.7, 2.0])),
        (Uniform(-1.0, 3.0), stats.uniform([-1, -1], [4, 4])),
        (Uniform((-1.0, 0.0), 3.0), stats.uniform([-1, 0], [4, 3])),
    ],
    ids=["normal", "normal of two scales", "uniform", "uniform of two bounds"],
)


@PROPER
def test_density_and_quantiles_are_those_of_scipy(prior, reference):
    z, u = 2 * normal(50, 2), sobol(64, 2, 0)
    # Rounding.
    torch.testing.assert_close(prior.log_density(z), torch.tensor(reference.logpdf(z).sum(-1)), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(prior.quantile(u), torch.tensor(reference.ppf(u)), atol=1e-12, rtol=1e-12)


@PROPER
def test_the_score_is_the_slope_of_the_density(prior, reference):
    z = prior.quantile(sobol(16, 2, 1)).requires_grad_()
    density = prior.log_density(z).sum()
    slope = torch.autograd.grad(density, z)[0] if density.requires_grad else torch.zeros_like(z)
    torch.testing.assert_close(prior.score(z), slope)


@PROPER
def test_a_point_is_projected_into_the_support(prior, reference):
    assert prior.log_density(prior.project(9 * normal(50, 2))).isfinite().all()


def test_the_cross_entropy_of_a_normal_prior_is_the_mean_of_its_log_density():
    prior, mean, deviation = Normal((0.7, 2.0)), normal(3, 2), normal(3, 2, seed=1).exp()
    z = mean + deviation * torch.special.ndtri(sobol(2**16, 2, 0))[:, None]
    # Sobol points; measured 2e-4 of numbers of about ten.
    torch.testing.assert_close(prior.cross_entropy(mean, deviation), -prior.log_density(z).mean(0), atol=0, rtol=1e-3)


def test_a_prior_may_differ_between_the_parts_of_a_tree():
    start = {"a": torch.zeros(2, dtype=torch.float64), "b": torch.zeros(2, 2, dtype=torch.float64)}

    def fn(z):
        return 0 * z["a"] + z["b"].square().sum(-1)

    box = Uniform((-1.0, 0.0, 0.0), (1.0, 2.0, 3.0))
    axis = torch.linspace(0, 3, 30001, dtype=torch.float64)
    parts = torch.exp(-2 * axis.square())
    exact = -(torch.trapezoid(parts[:20001], axis[:20001]) / 2 * torch.trapezoid(parts, axis) / 3).log() / 2
    answer = marginalise(fn, start, ImportanceSampling(2.0, box, samples=8192))
    # The mode lies in a corner, which cuts off three quarters of its proposal; measured 3e-3.
    torch.testing.assert_close(answer.value, exact.expand(2), atol=0.03, rtol=0)


def test_rescaling_the_latent_shifts_the_flat_measure_and_not_a_prior():
    start = torch.zeros(1, 2, dtype=torch.float64)

    def fn(z):
        return (z - 1).square().sum(-1)

    def scaled(z):
        return fn(z / 10)

    def value(fn, prior):
        return marginalise(fn, start, Laplace(3.0, prior)).value

    shift = torch.tensor([-2 / 3 * math.log(10)], dtype=torch.float64)  # -D / beta log c
    torch.testing.assert_close(value(scaled, Lebesgue()), value(fn, Lebesgue()) + shift)
    torch.testing.assert_close(value(scaled, Normal(10.0)), value(fn, Normal(1.0)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Normal(0.0), "positive and finite"),
        (lambda: Normal((1.0, math.inf)), "positive and finite"),
        (lambda: Uniform(1.0, 1.0), "`lower` below `upper`"),
        (lambda: Uniform(0.0, math.inf), r"use Lebesgue\(\)"),
        (lambda: Uniform((0.0, 0.0), (1.0, 1.0, 1.0)), "2 lower and 3 upper"),
    ],
)
def test_what_is_no_density_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_prior_over_another_number_of_features_is_refused():
    with pytest.raises(ValueError, match="numbers for 3 features, but z has 2"):
        Normal((1.0, 1.0, 1.0)).log_density(normal(4, 2))


def test_the_flat_measure_cannot_be_sampled_from():
    assert not Lebesgue.proper
    with pytest.raises(ValueError, match="cannot be sampled from"):
        Lebesgue().quantile(sobol(4, 1, 0))


def test_points_are_even_and_strictly_inside():
    points = sobol(256, 3, 7)
    assert points.min() > 0
    assert points.max() < 1
    assert ((points * 256).floor().sort(0).values == torch.arange(256)[:, None]).all()  # one in each of 256 slices
    assert torch.equal(points, sobol(256, 3, 7))


def test_the_effective_size_counts_equal_weights():
    weights = torch.tensor([[0.0, 0.0], [0.0, -torch.inf], [0.0, -torch.inf], [0.0, 0.0]]).double() - 1e4
    torch.testing.assert_close(effective_sample_size(weights), torch.tensor([4.0, 2.0]).double())
