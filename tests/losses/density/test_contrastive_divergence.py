import math

import pytest
import torch
from bowls import TRUTH, Bowl, data
from conftest import every, normal
from torch import nn

from ebm import FreeEnergy, Hamiltonian, Langevin, MetropolisLangevin
from ebm.energies import Density
from ebm.losses import ContrastiveDivergence
from ebm.samplers import Sampler

FROZEN = 1e-30
"""A temperature at which Langevin steps of a bowl are those of gradient descent, to 1e-15."""


@pytest.mark.parametrize("l2", [0.0, 0.3])
@pytest.mark.parametrize("conditional", [False, True])
def test_chains_start_at_the_data_and_are_held(l2, conditional):
    k, rate, steps, y = 2.0, 0.1, 3, 100 + normal(6, 3)
    x = normal(6, 3, seed=1) if conditional else None
    centre = torch.zeros_like(y) if x is None else x
    energy, weight = Bowl(k), torch.tensor(k, dtype=torch.float64, requires_grad=True)
    loss = ContrastiveDivergence(Langevin(rate), steps, temperature=FROZEN, l2=l2)
    value = loss(FreeEnergy(energy), x, y)
    total = 0.0
    for i in range(6):
        negative = centre[i] + (1 - rate * k) ** steps * (y[i] - centre[i])
        down, up = (weight * (point - centre[i]).square().sum() / 2 for point in (y[i], negative))
        total = total + (down - up + l2 * (down**2 + up**2)) / 6
    torch.testing.assert_close(value, total, rtol=1e-10, atol=1e-10)
    found, wanted = torch.autograd.grad(value, energy.k) + torch.autograd.grad(total, weight)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def slope_and_error(loss, k, y, copies=40):
    """The derivative in k, its mean over parts of the data, and the standard error of that."""
    slopes = []
    torch.manual_seed(1000)
    for part in y.chunk(copies):
        energy = Bowl(k)
        slopes += torch.autograd.grad(loss(FreeEnergy(energy), None, part), energy.k)
    found = torch.stack(slopes)
    return found.mean().item(), found.std().item() / math.sqrt(copies)


@pytest.mark.parametrize("sampler", [MetropolisLangevin(0.3), Hamiltonian(0.5, 3)], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("features", [2, 8])
def test_at_the_truth_the_gradient_is_zero_on_average_for_samplers_that_are_exact(sampler, features):
    loss, y = ContrastiveDivergence(sampler, steps=2), data(8000, features)
    mean, error = slope_and_error(loss, TRUTH, y)
    assert abs(mean) < 5 * error
    # And where the energy is wrong, it is seen: the sign says which way.
    for k, sign in ((TRUTH / 2, -1), (TRUTH * 2, 1)):
        mean, error = slope_and_error(loss, k, y)
        assert sign * mean > 5 * error


@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_the_gradient_is_that_of_the_variance_which_steps_of_langevin_have(temperature):
    k, rate, steps, features = 1.4, 0.2, 4, 2
    loss = ContrastiveDivergence(Langevin(rate), steps, temperature)
    mean, error = slope_and_error(loss, k, data(40_000, features))
    variance = 1 / TRUTH
    for _ in range(steps):
        variance = (1 - rate * k) ** 2 * variance + 2 * rate * temperature
    assert abs(mean - features * (1 / TRUTH - variance) / 2) < 5 * error


@pytest.mark.parametrize("kind", every("ebm.samplers", Sampler))
def test_any_sampler_moves_each_chain_under_its_own_x(kind):
    # Far apart, chains can only stay near their own centre.
    x = 1000 * torch.arange(6.0, dtype=torch.float64)[:, None]
    value = ContrastiveDivergence(kind(), steps=3).values(FreeEnergy(Bowl(1.0)), x, x + normal(6, 2))
    assert (value.abs() < 50).all()


def test_a_chain_that_runs_away_raises_with_what_to_do():
    with pytest.raises(RuntimeError, match=r"diverged at step .*lower `step_size`"):
        ContrastiveDivergence(Langevin(10.0), steps=2000)(FreeEnergy(Bowl(5.0)), None, normal(4, 2))


def test_settings_without_a_meaning_are_refused():
    with pytest.raises(ValueError, match="`steps` of ContrastiveDivergence is a whole number of at least 1"):
        ContrastiveDivergence(steps=0)
    with pytest.raises(ValueError, match="a temperature is positive"):
        ContrastiveDivergence(temperature=0.0)(FreeEnergy(Bowl()), None, normal(4, 2))


@pytest.mark.parametrize("module", [nn.BatchNorm1d(3), nn.Dropout(0.5)], ids=["BatchNorm1d", "Dropout"])
def test_a_module_that_mixes_samples_or_draws_noise_is_refused_by_name(module):
    F = FreeEnergy(Density(nn.Sequential(module, nn.Linear(3, 1))).double())
    with pytest.raises(ValueError, match=f"`cost` ran {type(module).__name__} in training mode"):
        ContrastiveDivergence()(F, None, normal(6, 3))
