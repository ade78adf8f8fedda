import math

import pytest
import torch
from bowls import TRUTH, Bowl, Quadratic, fits, symmetric
from conftest import normal

from ebm import FreeEnergy
from ebm.losses import ConditionalNoiseContrastive


def test_it_is_the_formula_of_the_paper_for_the_noise_that_was_drawn():
    a, y, sigma = symmetric(3), normal(4, 3), 0.7
    energy, matrix = Quadratic(a), a.clone().requires_grad_()
    torch.manual_seed(3)
    value = ConditionalNoiseContrastive(sigma, copies=2)(FreeEnergy(energy), None, y)
    torch.manual_seed(3)
    noise = torch.randn(2, 4, 3, dtype=torch.float64)
    total = 0.0
    for i in range(4):
        for m in range(2):
            noisy = y[i] + sigma * noise[m, i]
            log_ratio = (-y[i] @ matrix @ y[i] + noisy @ matrix @ noisy) / 2  # the noise is symmetric
            total = total + 2 / (2 * 4) * torch.log(1 + torch.exp(-log_ratio))
    torch.testing.assert_close(value, total, rtol=1e-10, atol=1e-10)
    (slope,) = torch.autograd.grad(total, matrix)
    (found,) = torch.autograd.grad(value, energy.matrix)
    torch.testing.assert_close(found, (slope + slope.T) / 2, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("features", [2, 8])
@pytest.mark.parametrize("sigma", [0.5, 1.5])
def test_the_fit_is_the_truth_whatever_the_noise(features, sigma):
    mean, error = fits(ConditionalNoiseContrastive(sigma, copies=2), features)
    assert abs(mean - TRUTH) < 5 * error
    assert error < 0.05 * TRUTH


def test_a_flat_energy_tells_nothing_apart():
    value = ConditionalNoiseContrastive()(FreeEnergy(Bowl(0.0)), None, normal(5, 3))
    assert value.item() == pytest.approx(2 * math.log(2), rel=1e-14)


def test_no_noise_and_no_copies_are_refused():
    with pytest.raises(ValueError, match="`sigma` of ConditionalNoiseContrastive is positive, not 0"):
        ConditionalNoiseContrastive(0.0)
    with pytest.raises(ValueError, match="`copies` of ConditionalNoiseContrastive is a whole number"):
        ConditionalNoiseContrastive(copies=0)
