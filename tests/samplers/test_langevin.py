import math

import pytest
import torch
from conftest import normal

from ebm.sample import sample
from ebm.samplers import Langevin


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bowl(z):
    return 2 * z.square().sum(-1)  # of curvature 4


def test_a_step_goes_downhill_and_adds_noise_of_twice_the_step():
    start, temperature = normal(5, 3), 0.7
    answer = sample(bowl, start, Langevin(0.1), draws=1, temperature=temperature, generator=seeded())
    noise = torch.randn(16, 5, 3, generator=seeded(), dtype=torch.float64)[0]
    # The same sums in another order.
    expected = start - 0.1 * 4 * start + math.sqrt(2 * 0.1 * temperature) * noise
    torch.testing.assert_close(answer.z[0], expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("step_size", [0.05, 0.2, 0.4])
def test_a_large_step_makes_it_hotter_by_as_much_as_the_closed_form_says(step_size):
    # z <- (1 - 4 h) z + sqrt(2 h T) n is stationary at the variance T / (4 (1 - 2 h)).
    wanted = 1.5 / (1 - 2 * step_size)
    start = normal(64, 8) * (wanted / 4) ** 0.5
    answer = sample(bowl, start, Langevin(step_size), draws=400, temperature=1.5, generator=seeded())
    found = answer.effective_temperature
    error = found.std() / 8
    assert abs(found.mean() - wanted) < 5 * error
    assert found.mean() - 1.5 > 5 * error
    # 64 chains of 8 coordinates, correlated over fewer than 10 steps: a relative error of sqrt(2 / 20000), five of it.
    assert answer.z.var() == pytest.approx(wanted / 4, rel=0.05)


def test_a_step_beyond_stability_diverges():
    with pytest.raises(RuntimeError, match=r"of 6 chains \(\d+%\) diverged.*`step_size`, now 0\.6, or take Metropolis"):
        sample(bowl, normal(6, 2, dtype=torch.float32), Langevin(0.6), draws=1000)


@pytest.mark.parametrize("step_size", [0.0, -0.1, math.nan, math.inf])
def test_a_step_that_is_none_is_refused(step_size):
    with pytest.raises(ValueError, match=r"`step_size` of Langevin is positive and finite, not"):
        Langevin(step_size)
