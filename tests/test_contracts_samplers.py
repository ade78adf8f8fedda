"""What holds for every sampler, found by listing `ebm/samplers`: a file dropped there is tested by being there."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from conftest import every, normal

from ebm.sample import sample
from ebm.samplers import Sampler

samplers = pytest.mark.parametrize("kind", every("ebm.samplers", Sampler))

CURVATURE, MEAN = 5.0, 0.5
"""Steps are stable up to 40 times this curvature at least, and ten leapfrogs take a third of a turn."""


def bowl(z):
    """A normal distribution around 0.5, of variance T / 5 in every direction."""
    return CURVATURE * (z - MEAN).square().flatten(1).sum(-1) / 2


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@samplers
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_draws_have_the_moments_of_the_normal_distribution(kind, temperature):
    start = MEAN + normal(32, 2) * (temperature / CURVATURE) ** 0.5
    answer = sample(bowl, start, kind(), draws=600, warmup=50, temperature=temperature, generator=seeded())
    z = answer.by_chain()["z"]
    # Langevin steps of 0.01 forget within some 40: halves of a chain are worth 15 draws, and R-hat is 1 + 1/15 or so.
    assert (array_stats.rhat(z, chain_axis=0, draw_axis=1) < 1.1).all()
    # Five standard errors of a mean; unadjusted steps of 0.01 at this curvature add 0.01 * 5 / 2 to the variance.
    squares, variance = (z - MEAN) ** 2, temperature / CURVATURE
    error = np.sqrt(variance / array_stats.ess(z, chain_axis=0, draw_axis=1, method="mean"))
    assert (np.abs(z.mean((0, 1)) - MEAN) < 5 * error).all()
    error = variance * np.sqrt(2 / array_stats.ess(squares, chain_axis=0, draw_axis=1, method="mean"))
    assert (np.abs(squares.mean((0, 1)) - variance) < 5 * error + 0.026 * variance).all()


@samplers
@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_effective_temperature_is_the_one_asked_for(kind, temperature):
    start = MEAN + normal(64, 8) * (temperature / CURVATURE) ** 0.5
    answer = sample(bowl, start, kind(), draws=300, temperature=temperature, generator=seeded())
    found = answer.effective_temperature
    # Five standard errors over chains, and the error of unadjusted steps.
    assert abs(found.mean() - temperature) < 5 * found.std() / 8 + 0.026 * temperature
    assert answer.temperature == temperature
    assert f"asked for {temperature:g}" in answer.summary()


@samplers
@pytest.mark.parametrize(("batch", "event"), [((4,), (2, 3)), ((2, 2), (6,)), ((4,), (1, 2, 3)), ((2, 2), (3, 2))])
def test_the_shapes_of_batch_and_event_change_nothing(kind, batch, event):
    start = normal(4, 6)
    rows = sample(bowl, start, kind(), draws=5, generator=seeded())

    def shaped(z):
        assert z.shape == (*batch, *event)
        return bowl(z.reshape(4, 6)).reshape(batch)

    answer = sample(shaped, start.reshape(*batch, *event), kind(), draws=5, generator=seeded())
    assert torch.equal(answer.z, rows.z.reshape(5, *batch, *event))
    assert torch.equal(answer.energy, rows.energy.reshape(5, *batch))
    assert answer.acceptance.shape == answer.effective_temperature.shape == batch
    assert answer.swap_acceptance.shape[:-1] == batch


@samplers
def test_all_noise_comes_from_the_generator(kind):
    start, before = normal(3, 2), torch.get_rng_state()
    first, again, other = (sample(bowl, start, kind(), draws=4, generator=seeded(seed)).z for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


@samplers
def test_a_step_costs_the_evaluations_that_it_states(kind):
    calls = []

    def counted(z):
        calls.append(len(z))
        return bowl(z)

    answer = sample(counted, normal(3, 2), kind(), draws=7, warmup=3, given=())
    # One to learn the shape and one to begin with; then 10 steps, all replicas in one call.
    each = kind().evaluations // kind().replicas
    assert len(calls) == 2 + 10 * each
    assert sum(calls) // 3 - 1 == answer.evaluations == 1 + 10 * kind().evaluations


@samplers
def test_warm_up_and_thinning_leave_out_draws_of_the_same_chain(kind):
    start = normal(3, 2)
    whole = sample(bowl, start, kind(), draws=41, generator=seeded())
    part = sample(bowl, start, kind(), draws=9, warmup=5, thin=4, generator=seeded())
    assert torch.equal(part.z, whole.z[8::4])
    assert torch.equal(part.energy, whole.energy[8::4])


@samplers
def test_energies_are_those_of_the_draws(kind):
    answer = sample(bowl, normal(3, 2), kind(), draws=20)
    # A sum of two squares, in whatever order.
    torch.testing.assert_close(answer.energy, torch.stack([bowl(z) for z in answer.z]), atol=1e-12, rtol=1e-12)


@samplers
def test_the_temperature_scales_a_chain_as_the_energy_says(kind):
    # For a quadratic, T times the temperature is sqrt(T) times the distance from the mean, draw by draw.
    start = normal(3, 2)
    cold = sample(bowl, MEAN + start, kind(), draws=20, generator=seeded())
    hot = sample(bowl, MEAN + 2 * start, kind(), draws=20, temperature=4.0, generator=seeded())
    torch.testing.assert_close(hot.z - MEAN, 2 * (cold.z - MEAN), atol=1e-9, rtol=1e-9)


@samplers
def test_it_runs_in_inference_mode_and_under_no_grad(kind):
    start = normal(3, 2)
    wanted = sample(bowl, start, kind(), draws=20, generator=seeded()).z
    with torch.no_grad():
        assert torch.equal(sample(bowl, start, kind(), draws=20, generator=seeded()).z, wanted)
    with torch.inference_mode():
        found = sample(bowl, start, kind(), draws=20, generator=seeded()).z
    # torch.func may add in another order.
    torch.testing.assert_close(found.clone(), wanted, atol=1e-9, rtol=1e-9)


@samplers
def test_nothing_is_left_on_parameters_or_on_the_start(kind):
    net, start = torch.nn.Linear(2, 1).double(), normal(3, 2).requires_grad_()
    kept = start.detach().clone()
    answer = sample(lambda z: bowl(z) + net(z)[:, 0], start, kind(), draws=3)
    assert not answer.z.requires_grad
    assert net.weight.grad is None
    assert start.grad is None
    assert torch.equal(start, kept)


@samplers
def test_a_chain_that_runs_away_raises_and_says_who_when_and_what_to_do(kind):
    # Sample 2 of 4 falls without end; its numbers overflow within some dozens of steps.
    falls = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    with pytest.raises(RuntimeError, match=r"1 of 4 chains \(25%\) diverged at step \d+ of 5000 under .*step_size"):
        sample(lambda z: bowl(z) - falls * 30 * z.pow(4).sum(-1), 1 + normal(4, 2).abs(), kind(), draws=5000)


@samplers
def test_half_precision_is_sampled_in_single(kind):
    answer = sample(lambda z: bowl(z.float()), torch.zeros(3, 2, dtype=torch.float16), kind(), draws=4)
    assert answer.z.dtype == torch.float16
    assert answer.energy.dtype == torch.float32


@samplers
def test_a_sampler_is_frozen_so_that_its_state_goes_in_and_comes_out(kind):
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().step_size = 3
    assert kind() == kind()
    assert hash(kind()) == hash(kind())


@samplers
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of the compiler itself
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_chain_is_the_same_up_to_rounding(kind):
    start = normal(4, 3)
    plain, compiled = (
        sample(bowl, start, kind(), draws=10, warmup=4, thin=2, given=(), compile=compile, generator=seeded())
        for compile in (False, True)
    )
    # Rounding of 1e-16 grows along 24 steps, and no acceptance is that close.
    torch.testing.assert_close(compiled.z, plain.z, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(compiled.energy, plain.energy, atol=1e-10, rtol=1e-10)
    assert torch.equal(compiled.acceptance, plain.acceptance)
