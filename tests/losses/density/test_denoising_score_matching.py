import pytest
import torch
from bowls import TRUTH, Quadratic, fits, symmetric
from conftest import normal

from ebm import FreeEnergy
from ebm.losses import DenoisingScoreMatching


def test_it_is_the_formula_of_the_paper_for_the_noise_that_was_drawn():
    a, y, sigma = symmetric(3), normal(5, 3), 0.3
    energy = Quadratic(a)
    torch.manual_seed(3)
    value = DenoisingScoreMatching(sigma)(FreeEnergy(energy), None, y)
    torch.manual_seed(3)
    noise = torch.randn_like(y)
    total, slope = 0.0, torch.zeros(3, 3)
    for i in range(5):
        noisy = y[i] + sigma * noise[i]
        misfit = -a @ noisy - (y[i] - noisy) / sigma**2  # the score, less that of the noise
        total += misfit.square().sum() / 2
        slope = slope - torch.outer(misfit, noisy)
    assert value.item() == pytest.approx(total.item() / 5, rel=1e-12)
    (gradient,) = torch.autograd.grad(value, energy.matrix)
    torch.testing.assert_close(gradient, (slope + slope.T) / 10, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("features", [2, 8])
@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_it_fits_the_density_of_the_data_with_noise_added(features, sigma):
    mean, error = fits(DenoisingScoreMatching(sigma), features)
    assert abs(mean - 1 / (1 / TRUTH + sigma**2)) < 5 * error
    assert error < 0.05 * TRUTH


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan")])
def test_noise_of_no_size_is_refused(sigma):
    with pytest.raises(ValueError, match="`sigma` of DenoisingScoreMatching is positive"):
        DenoisingScoreMatching(sigma)
