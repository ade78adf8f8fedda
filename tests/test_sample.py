import math

import pytest
import torch
from arviz_stats.base import array_stats
from conftest import normal

from ebm.sample import sample
from ebm.samplers import Hamiltonian, Langevin, MetropolisLangevin, ParallelTempering


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bowl(z):
    return z.square().sum(-1) / 2


def test_what_is_given_has_a_row_for_each_chain():
    centre = torch.tensor([[-3.0], [0.0], [5.0]])
    answer = sample(
        lambda z, c: (z - c).square().sum(-1) / 2, centre, draws=2000, thin=2, given=(centre,), generator=seeded()
    )
    # Ten leapfrogs of 0.1 leave a correlation of cos(1): 2000 draws of every other are worth some 1000, five errors.
    torch.testing.assert_close(answer.z.mean(0), centre, atol=0.16, rtol=0)


def test_z_may_be_a_tree_of_tensors():
    start = {"angle": normal(4, 1), "image": normal(4, 2, 3, seed=1)}

    def energy(z):
        return z["angle"].square().sum(-1) + z["image"].square().sum((-1, -2))

    answer = sample(energy, start, draws=5, generator=seeded())
    assert answer.z["angle"].shape == (5, 4, 1)
    assert answer.z["image"].shape == (5, 4, 2, 3)
    # The same sums in another order.
    torch.testing.assert_close(
        answer.energy, torch.stack([energy({k: v[i] for k, v in answer.z.items()}) for i in range(5)])
    )
    assert set(answer.by_chain()) == {"z['angle']", "z['image']", "energy"}
    assert answer.by_chain()["z['image']"].shape == (4, 5, 2, 3)


def test_by_chain_is_what_a_library_of_diagnostics_takes():
    answer = sample(lambda z: bowl(z), normal(2, 3, 4), draws=50, generator=seeded())
    arrays = answer.by_chain()
    assert arrays["z"].shape == (6, 50, 4)
    assert arrays["z"][5, 7].tolist() == answer.z[7, 1, 2].tolist()
    assert array_stats.ess(arrays["z"], chain_axis=0, draw_axis=1).shape == (4,)


def test_the_effective_temperature_is_the_virial_around_the_mean_start():
    start = normal(6, 3)
    answer = sample(bowl, start, Langevin(0.1), draws=30, generator=seeded())
    expected = ((answer.z - start.mean(0)) * answer.z).sum(-1).mean(0) / 3
    # The same sums in another order.
    torch.testing.assert_close(answer.effective_temperature, expected, atol=1e-12, rtol=1e-12)


def test_the_effective_temperature_does_not_depend_on_where_the_origin_is():
    here = sample(bowl, normal(6, 3), draws=40, generator=seeded())
    there = sample(lambda z: bowl(z - 100), 100 + normal(6, 3), draws=40, generator=seeded())
    # Rounding of numbers of 100 that are subtracted, over 400 evaluations.
    torch.testing.assert_close(there.effective_temperature, here.effective_temperature, atol=1e-9, rtol=0)


def test_chains_too_short_for_their_distribution_are_seen_by_r_hat_and_by_the_temperature():
    answer = sample(bowl, torch.zeros(16, 2), Langevin(1e-4), draws=100, generator=seeded())
    assert answer.effective_temperature.mean() < 0.1
    assert array_stats.rhat(answer.by_chain()["z"][..., 0]) > 1.1


def test_the_summary_says_what_happened():
    answer = sample(bowl, normal(4, 2), Hamiltonian(0.1), draws=5, warmup=5, temperature=2.0, generator=seeded())
    assert "5 draws of each of 4 chains, 101 evaluations each" in answer.summary()
    assert "accepted 100% of moves" in answer.summary()
    assert sample(bowl, normal(1, 2), draws=2).summary().count("+-") == 0


def test_acceptance_leaves_out_the_warm_up():
    sampler, start = MetropolisLangevin(0.8), normal(3, 2)
    whole = sample(bowl, start, sampler, draws=40, generator=seeded())
    moved = (whole.z[1:] != whole.z[:-1]).any(-1).double()
    part = sample(bowl, start, sampler, draws=15, warmup=25, generator=seeded())
    assert 0 < moved.mean() < 1
    # A mean of 15 numbers.
    torch.testing.assert_close(part.acceptance, moved[-15:].mean(0), atol=1e-12, rtol=0)


def test_a_chain_may_be_a_single_number():
    answer = sample(lambda z: z.square() / 2, normal(3, 2), draws=4)
    assert answer.z.shape == (4, 3, 2)
    assert answer.energy.shape == (4, 3, 2)


def test_progress_is_told_up_to_the_end():
    told = []
    sample(bowl, normal(2, 2), Langevin(), draws=40, progress=told.append)
    assert told == sorted(told)
    assert len(told) > 1
    assert told[-1] == 1


def test_noise_is_drawn_in_smaller_blocks_where_chains_are_large():
    answer = sample(bowl, torch.zeros(2, 2**22), Langevin(0.1), draws=3, generator=seeded())
    assert answer.z.isfinite().all()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (torch.zeros(3, 2, dtype=torch.long), "floating point"),
        (torch.tensor([[1.0, math.nan], [math.inf, 0.0]]), "2 values that are NaN or infinite"),
        (torch.zeros(3, 0), "no features"),
        (torch.zeros(0, 3), "no chain to run"),
        ([[1.0, 2.0]], "tensor"),
    ],
)
def test_a_start_that_is_none_is_refused(start, message):
    with pytest.raises(ValueError, match=message):
        sample(bowl, start, draws=2)


@pytest.mark.parametrize("energy", [lambda z: z.square().sum(), lambda z: z.sum(-1, keepdim=True)[:2]])
def test_energies_that_are_not_one_number_a_sample_are_refused(energy):
    with pytest.raises(ValueError, match="one number per sample"):
        sample(energy, normal(3, 2), draws=2)


def test_energies_of_the_start_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="the energy of the start is NaN or infinite in 2 of 3 chains"):
        sample(lambda z: z.sum(-1).log(), torch.tensor([[-1.0], [0.0], [1.0]]), draws=2)


def test_an_energy_without_a_derivative_is_refused():
    with pytest.raises(ValueError, match="no derivative with respect to z"):
        sample(lambda z: z.detach().square().sum(-1), normal(3, 2), draws=2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 0}, "`draws` of a run is a whole number of at least 1, not 0"),
        ({"draws": 2.5}, "`draws` of a run is a whole number"),
        ({"draws": 2, "warmup": -1}, "`warmup` of a run is a whole number of at least 0, not -1"),
        ({"draws": 2, "thin": 0}, "`thin` of a run is a whole number of at least 1, not 0"),
        ({"draws": 2, "temperature": 0.0}, "a temperature is positive and finite, not 0.0; at 0 use `minimize`"),
        ({"draws": 2, "temperature": -1.0}, "a temperature is positive"),
        ({"draws": 2, "temperature": math.nan}, "a temperature is positive"),
    ],
)
def test_an_impossible_run_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        sample(bowl, normal(3, 2), **settings)


def test_what_is_given_without_a_row_for_each_sample_is_refused():
    sampler = ParallelTempering(Langevin())
    with pytest.raises(ValueError, match="has a row for each sample"):
        sample(lambda z, a: (z @ a).square().sum(-1), normal(3, 2), sampler, draws=2, given=(normal(2, 2),))
