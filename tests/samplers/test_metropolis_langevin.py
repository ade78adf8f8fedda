import math

import pytest
import torch
from conftest import normal

from ebm.sample import sample
from ebm.samplers import Hamiltonian, MetropolisLangevin


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def quartic(z):
    return (z.pow(4) / 4 + z.square() / 2).sum(-1)


def slope(z):
    return z.pow(3) + z


def log_density(to, mean, size):
    """Of the normal proposal, but for a constant."""
    return -(to - mean).square().sum(-1) / (4 * size)


def test_moves_are_taken_by_the_ratio_of_densities_that_defines_it():
    start, size = normal(200, 3), 0.2
    answer = sample(quartic, start, MetropolisLangevin(size), draws=1, generator=seeded())
    generator = seeded()
    noise = torch.randn(16, 200, 3, generator=generator, dtype=torch.float64)[0]
    uniform = (-torch.empty(16, 200, dtype=torch.float64).exponential_(generator=generator)[0]).exp()
    mean = start - size * slope(start)
    proposal = mean + math.sqrt(2 * size) * noise
    ratio = quartic(start) - quartic(proposal)
    ratio += log_density(start, proposal - size * slope(proposal), size) - log_density(proposal, mean, size)
    taken = uniform.log() < ratio
    assert 20 < taken.sum() < 180
    assert torch.equal(answer.acceptance, taken.double())
    # The same sums in another order.
    expected = torch.where(taken[:, None], proposal, start)
    torch.testing.assert_close(answer.z[0], expected, atol=1e-12, rtol=0)


def test_it_is_one_leapfrog_of_hamiltonian_sampling():
    start = normal(5, 3)
    answer = sample(quartic, start, MetropolisLangevin(0.08), draws=50, generator=seeded())
    leapfrog = sample(quartic, start, Hamiltonian(math.sqrt(0.16), leapfrog_steps=1), draws=50, generator=seeded())
    # The same up to rounding, which 50 steps of a contraction do not add up.
    torch.testing.assert_close(answer.z, leapfrog.z, atol=1e-10, rtol=0)


def test_a_large_step_is_not_hotter():
    # Unadjusted, this step would be at 1 / (1 - 0.3 * 4 / 2) = 2.5.
    start = normal(64, 2) / 2
    answer = sample(lambda z: 2 * z.square().sum(-1), start, MetropolisLangevin(0.3), draws=1000, generator=seeded())
    found = answer.effective_temperature
    assert 0.2 < answer.acceptance.mean() < 0.95
    assert abs(found.mean() - 1) < 5 * found.std() / 8  # five standard errors


def test_a_wall_of_infinite_energy_is_allowed_by_an_infinite_bound_alone():
    def half(z):  # a half-normal distribution: its mean is sqrt(2 / pi)
        return torch.where(z > 0, z.square() / 2, torch.inf).sum(-1)

    start = normal(64, 1).abs() + 0.1
    answer = sample(half, start, MetropolisLangevin(0.3, divergence=math.inf), draws=1000, generator=seeded())
    assert (answer.z > 0).all()
    # 64 chains of 1000, correlated over some 20 draws: five times a standard error of 0.6 / sqrt(3200).
    assert answer.z.mean() == pytest.approx(math.sqrt(2 / math.pi), abs=0.055)
    with pytest.raises(RuntimeError, match="raise `divergence` if"):
        sample(half, start, MetropolisLangevin(0.3), draws=1000, generator=seeded())


@pytest.mark.parametrize("setting", [{"step_size": -0.1}, {"divergence": 0.0}, {"divergence": math.nan}])
def test_settings_that_make_no_sense_are_refused(setting):
    with pytest.raises(ValueError, match=r"of MetropolisLangevin is positive and finite, not"):
        MetropolisLangevin(**setting)
