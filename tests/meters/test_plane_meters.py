import math

import pytest
import torch
from conftest import normal
from scipy.stats import multivariate_normal

from ebm import Energy, FreeEnergy
from ebm.meters import chains, density, squared_mmd
from ebm.meters.plane import landscape, walk

MEAN, STD = torch.tensor([0.5, -1.0], dtype=torch.float64), torch.tensor([0.5, 1.5], dtype=torch.float64)


class Normal(Energy):
    """Minus the log-density of a normal distribution up to a constant."""

    def __init__(self, mean=MEAN, std=STD, constant=3.0):
        super().__init__()
        self.mean, self.std, self.constant = mean, std, constant

    def cost(self, hx, hy, z=None):
        return ((hy - self.mean) / self.std).square().sum(-1) / 2 + self.constant


def points(count=4000, seed=0):
    return MEAN + STD * normal(count, 2, seed=seed)


def of(energy, hy):
    return FreeEnergy(energy), hy.new_empty(len(hy), 0), hy


def test_the_log_likelihood_is_that_of_the_normalised_density():
    hy = points()
    expected = -multivariate_normal(MEAN.numpy(), STD.square().diag().numpy()).logpdf(hy.numpy()).mean()
    # 4,000 points reach to some 3.5 deviations and the grid twice as far: outside of it is less than 1e-11.
    assert density(*of(Normal(), hy))["nll"] == pytest.approx(expected, abs=1e-9)


def test_a_constant_in_the_energy_changes_its_two_means_alone():
    hy = points(500)
    low, high = density(*of(Normal(constant=0.0), hy)), density(*of(Normal(constant=50.0), hy))
    for name in low:
        # The rounding of energies of 50 or so.
        assert high[name] - low[name] == pytest.approx(50.0 if name.startswith("energy") else 0.0, abs=1e-9)


def test_the_mmd_is_that_of_very_many_draws_of_the_density():
    hy, drawn = points(1000), points(3_000, seed=9)
    for energy, factor in ((Normal(), 1.0), (Normal(std=2 * STD), 2.0)):
        found = density(*of(energy, hy))["mmd"]
        # The means over 3,000 draws of kernels, whose deviations are some 0.1, times four.
        expected = squared_mmd(MEAN + factor * (drawn - MEAN), hy)
        assert found == pytest.approx(expected, abs=4 * 0.1 / 3_000**0.5)


def test_the_mmd_of_the_right_density_is_zero_on_average():
    found = torch.tensor([density(*of(Normal(), points(200, seed=i)))["mmd"] for i in range(30)])
    # Four standard errors of the mean of 30.
    assert abs(found.mean()) < 4 * found.std() / 30**0.5
    assert 4 * found.std() / 30**0.5 < 0.01


def test_the_energy_of_points_is_mostly_below_that_of_the_grid_and_of_a_flat_energy_never():
    hy = points()
    found = density(*of(Normal(), hy))
    assert found["energy_points"] == pytest.approx(4.0, abs=0.1)  # chi-squared of two, halved: 1 +- 1 / sqrt(4,000)
    assert found["energy_grid"] > 8
    assert found["auroc_grid"] > 0.95
    assert density(*of(Normal(std=STD * 1e9), hy))["nll"] == pytest.approx(math.log(_area(hy)), abs=1e-6)


def _area(hy):
    """Of the grid: its points stand for cells that reach half a cell further."""
    return float((2 * (hy.amax(0) - hy.amin(0)) * 256 / 255).prod())


def test_the_grid_lies_around_the_points_and_its_rows_are_those_of_x():
    over = landscape(*of(Normal(), torch.tensor([[0.0, 0.0], [1.0, 4.0]], dtype=torch.float64)))
    assert (over.x[0], over.x[-1], over.y[0], over.y[-1]) == (-0.5, 1.5, -2.0, 6.0)
    assert over.energies[10, 200] == Normal()(None, torch.stack([over.x[10], over.y[200]]))


def test_chains_end_where_the_density_is():
    energy, hy = Normal(mean=torch.zeros(2), std=torch.tensor([1.0, 0.5])), normal(2000, 2) * torch.tensor([1.0, 0.5])
    found = walk(*of(energy, hy), 2000)
    # Four standard errors of a deviation of 2,000 independent draws.
    torch.testing.assert_close(found.std(0), torch.tensor([1.0, 0.5], dtype=torch.float64), rtol=4 / 4000**0.5, atol=0)
    assert abs(chains(*of(energy, hy))["mmd_chains"]) < 2e-3  # that of 2,000 draws is 5e-4 or so either way


def test_meters_draw_nothing_from_the_global_generator_and_say_the_same_at_each_call():
    arguments, before = of(Normal(), points(100)), torch.get_rng_state()
    assert chains(*arguments) == chains(*arguments)
    assert before.equal(torch.get_rng_state())


@pytest.mark.parametrize("meter", [density, chains])
@pytest.mark.parametrize(("given", "features"), [(1, 2), (0, 3)])
def test_what_is_not_points_of_the_plane_given_nothing_is_refused(meter, given, features):
    with pytest.raises(ValueError, match=r"points \(N, 2\) given nothing \(N, 0\), .* got \(9, \d\) given \(9, \d\)"):
        meter(FreeEnergy(Normal()), normal(9, given), normal(9, features))
