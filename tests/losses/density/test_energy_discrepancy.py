import math

import pytest
import torch
from bowls import TRUTH, Bowl, Quadratic, data, fits, symmetric
from conftest import normal

from ebm import FreeEnergy
from ebm.losses import EnergyDiscrepancy


@pytest.mark.parametrize("w", [0.0, 1.0, 2.5])
def test_it_is_the_formula_of_the_paper_for_the_noise_that_was_drawn(w):
    a, y, t = symmetric(3), normal(4, 3), 0.5
    energy, matrix = Quadratic(a), a.clone().requires_grad_()
    torch.manual_seed(3)
    value = EnergyDiscrepancy(t, contrasts=2, w=w)(FreeEnergy(energy), None, y)
    torch.manual_seed(3)
    shared, own = torch.randn_like(y), torch.randn(2, 4, 3, dtype=y.dtype)
    total = 0.0
    for i in range(4):
        inside = w / 2
        for m in range(2):
            there = y[i] + math.sqrt(t) * shared[i] + math.sqrt(t) * own[m, i]
            inside = inside + torch.exp((y[i] @ matrix @ y[i] - there @ matrix @ there) / 2) / 2
        total = total + torch.log(inside) / 4
    torch.testing.assert_close(value, total, rtol=1e-10, atol=1e-10)
    (slope,) = torch.autograd.grad(total, matrix)
    (found,) = torch.autograd.grad(value, energy.matrix)
    torch.testing.assert_close(found, (slope + slope.T) / 2, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("features", [1, 3])
def test_with_many_contrasts_it_is_the_closed_form_for_a_normal_density(features):
    k, t, n = 1.3, 0.5, 4000
    loss = EnergyDiscrepancy(t, contrasts=256, w=0.0)
    values = loss.values(FreeEnergy(Bowl(k)), None, data(n, features, seed=1)).detach()
    # E(y) less -log of the average of exp(-E) under the noise, at y + noise.
    there = k / (1 + k * t) * (1 / TRUTH + t) / 2 + math.log(1 + k * t) / 2
    expected = features * (k / TRUTH / 2 - there)
    # Five standard errors, and the bias of a logarithm of 256 terms, whose relative variance is below 2.
    assert abs(values.mean().item() - expected) < 5 * values.std().item() / math.sqrt(n) + 2 / (2 * 256)


@pytest.mark.parametrize("features", [2, 8])
def test_the_fit_is_the_truth(features):
    mean, error = fits(EnergyDiscrepancy(t=0.25, contrasts=64), features, n=500)
    # The stabiliser and 64 contrasts bias it by some 1 / 64.
    assert abs(mean - TRUTH) < 5 * error + TRUTH / 64
    assert error < 0.03 * TRUTH


def test_energies_far_apart_stay_finite():
    value = EnergyDiscrepancy()(FreeEnergy(Bowl(1e6)), None, 100 * normal(5, 3).float())
    assert value.isfinite()


@pytest.mark.parametrize("settings", [{"t": 0.0}, {"w": -1.0}, {"t": float("nan")}])
def test_settings_without_a_meaning_are_refused(settings):
    with pytest.raises(ValueError, match="EnergyDiscrepancy takes noise t > 0 and a stabiliser w >= 0"):
        EnergyDiscrepancy(**settings)
