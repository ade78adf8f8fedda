import math

import pytest
import torch
from conftest import normal

from ebm.sample import sample
from ebm.samplers import Hamiltonian, Langevin, MetropolisLangevin, ParallelTempering


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def wells(z):
    """Two normal distributions of width 0.3 at -2 and at 2, the right one three times as likely: a barrier of 20 T."""
    near = torch.stack([(z + 2).square().sum(-1), (z - 2).square().sum(-1) - 2 * 0.09 * math.log(3)])
    return -torch.logsumexp(-near / (2 * 0.09), 0)


TEMPERED = ParallelTempering(Hamiltonian(0.2, leapfrog_steps=5), ladder=(1.0, 2.5, 6.0, 15.0, 40.0))


def test_it_crosses_a_barrier_that_holds_a_chain_and_finds_the_weights_of_both_sides():
    start = torch.full((64, 1), -2.0)
    held = sample(wells, start, TEMPERED.sampler, draws=600, warmup=100, generator=seeded())
    assert (held.z < 0).all()
    answer = sample(wells, start, TEMPERED, draws=600, warmup=100, given=(), generator=seeded())
    right = (answer.z > 0).float().mean((0, 2))
    # Five standard errors over chains, each by itself.
    assert abs(right.mean() - 0.75) < 5 * right.std() / 8
    assert (answer.swap_acceptance.mean(0) > 0.1).all()
    assert "accepted swaps" in answer.summary()


def test_swaps_are_accepted_as_often_as_between_independent_draws():
    # Energies of either replica, drawn directly: E / T is half a chi-square number whatever T.
    ladder = (1.0, 3.0)
    cold, hot = 0.5 * normal(200000).square(), 1.5 * normal(200000, seed=1).square()
    wanted = ((1 / ladder[0] - 1 / ladder[1]) * (cold - hot)).exp().clamp(max=1).mean()
    sampler = ParallelTempering(Hamiltonian(0.4, leapfrog_steps=3), ladder)
    answer = sample(lambda z: z.square().sum(-1) / 2, normal(64, 1), sampler, draws=1000, warmup=50, generator=seeded())
    found = answer.swap_acceptance[:, 0]
    assert abs(found.mean() - wanted) < 5 * found.std() / 8 + 0.005  # standard errors over chains, and of the drawing


def test_replicas_together_are_those_one_by_one():
    offset, start = normal(5, 3), normal(5, 3)
    sampler = ParallelTempering(MetropolisLangevin(0.2))
    named = sample(
        lambda z, offset: (z - offset).square().sum(-1), start, sampler, draws=30, given=(offset,), generator=seeded()
    )
    held = sample(lambda z: (z - offset).square().sum(-1), start, sampler, draws=30, generator=seeded())
    # The same sums, in batches of another size.
    torch.testing.assert_close(named.z, held.z, atol=1e-12, rtol=0)
    assert named.evaluations == held.evaluations == 1 + 30 * 4


def test_what_has_a_row_for_each_sample_and_is_not_named_is_told_of():
    offset = normal(5)

    def energy(z):
        return z.square().sum(-1) + (offset if len(z) == 5 else offset.sum().expand(1))[:1]

    with pytest.raises(ValueError, match="name there all that has a row for each sample, or leave `given` out"):
        sample(lambda z: energy(z)[:5], normal(5, 3), TEMPERED, draws=2, given=())


def test_the_coldest_replica_is_a_chain_at_the_temperature_asked_for():
    sampler = ParallelTempering(Hamiltonian(0.4, leapfrog_steps=3), (1.0, 2.0, 4.0))
    start = normal(64, 4)
    answer = sample(lambda z: z.square().sum(-1) / 2, start, sampler, draws=500, temperature=0.5, generator=seeded())
    found = answer.effective_temperature
    assert abs(found.mean() - 0.5) < 5 * found.std() / 8  # five standard errors


def test_a_divergence_of_a_hot_replica_is_one():
    # Hot replicas go where the energy is not a number; the cold one does not.
    def edge(z):
        return torch.where(z.abs() > 6, torch.nan, z.square() / 2).sum(-1)

    with pytest.raises(RuntimeError, match="in one of 2 replicas, the energy became NaN"):
        sample(edge, normal(8, 2), ParallelTempering(Langevin(0.1), (1.0, 30.0)), draws=500, generator=seeded())


@pytest.mark.parametrize(
    "ladder", [(), (1.0,), (2.0, 4.0), (1.0, 4.0, 2.0), (1.0, 1.0), (1.0, math.inf), (1.0, math.nan)]
)
def test_what_is_not_a_ladder_is_refused(ladder):
    with pytest.raises(ValueError, match="a ladder is two or more temperatures"):
        ParallelTempering(Hamiltonian(), ladder)


def test_replicas_of_replicas_are_refused():
    with pytest.raises(ValueError, match="ParallelTempering has replicas of its own"):
        ParallelTempering(ParallelTempering())


def test_a_ladder_may_be_a_list():
    assert hash(ParallelTempering(Langevin(), [1, 2])) == hash(ParallelTempering(Langevin(), (1, 2)))
