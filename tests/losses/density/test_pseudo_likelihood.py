import pytest
import torch
from conftest import normal
from ising import Ising, binary_states, one_hot_states, probabilities

from ebm import FreeEnergy
from ebm.losses import PseudoLikelihood
from ebm.sites import flips, replacements


def by_the_table(energy, states, rows):
    """The formula, each conditional summed up over the table of all states that agree on the other entries."""
    table, total = probabilities(energy, states), 0.0
    for row in rows:
        (own,) = [s for s in range(len(states)) if torch.equal(states[s], row)]
        for d in range(len(row)):
            rest = [e for e in range(len(row)) if e != d]
            agree = [s for s in range(len(states)) if torch.equal(states[s][rest], row[rest])]
            total = total - torch.log(table[own] / table[agree].sum())
    return total / len(rows)


CASES = {"binary": (PseudoLikelihood(), binary_states(4)), "one-hot": (PseudoLikelihood(True), one_hot_states(3, 3))}
cases = pytest.mark.parametrize("case", CASES)


@cases
def test_it_is_the_sum_of_the_conditionals_of_the_whole_table(case):
    loss, states = CASES[case]
    energy = Ising(states[0].numel())
    rows = states[torch.randint(len(states), (6,), generator=torch.Generator().manual_seed(0))]
    value, expected = loss(FreeEnergy(energy), None, rows), by_the_table(energy, states, rows)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-10)
    found, wanted = (torch.autograd.grad(v, list(energy.parameters())) for v in (value, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@cases
def test_where_the_data_has_the_distribution_of_the_energy_it_is_flat(case):
    loss, states = CASES[case]
    energy = Ising(states[0].numel())
    value = probabilities(energy, states).detach() @ loss.values(FreeEnergy(energy), None, states)
    for gradient in torch.autograd.grad(value, list(energy.parameters())):
        assert gradient.abs().max() < 1e-12  # an exact sum over all states, but for rounding


def test_two_values_in_one_hot_codes_are_binary():
    energy, y = Ising(8), one_hot_states(4, 2)

    class Second(Ising):
        """The same energies of the second column alone."""

        def cost(self, hx, hy, z=None):
            return energy.cost(None, torch.stack([1 - hy, hy], -1))

    value = PseudoLikelihood()(FreeEnergy(Second(1)), None, y[..., 1])
    torch.testing.assert_close(PseudoLikelihood(True)(FreeEnergy(energy), None, y), value, rtol=1e-12, atol=1e-12)


def test_all_neighbours_are_evaluated_in_one_call():
    calls = []

    class Counted(Ising):
        def cost(self, hx, hy, z=None):
            calls.append(len(hy))
            return super().cost(hx, hy, z)

    PseudoLikelihood()(FreeEnergy(Counted(4)), None, binary_states(4))
    PseudoLikelihood(True)(FreeEnergy(Counted(6)), None, one_hot_states(2, 3))
    assert calls == [5 * 16, 6 * 9]


def test_flips_and_replacements_change_one_entry_each():
    y = binary_states(3)
    for d in range(3):
        assert ((flips(y)[d] != y) == torch.tensor([e == d for e in range(3)])).all()
    y = one_hot_states(2, 3)
    for d in range(2):
        for k in range(3):
            changed = replacements(y)[d, k]
            assert (changed[:, d].argmax(-1) == k).all()
            assert torch.equal(changed[:, 1 - d], y[:, 1 - d])
            assert (changed.sum(-1) == 1).all()


def test_data_that_is_not_binary_is_refused_with_its_range():
    with pytest.raises(ValueError, match=r"entries that are 0 or 1, got values from -?\d.* to \d"):
        PseudoLikelihood()(FreeEnergy(Ising(4)), None, normal(5, 4))
    with pytest.raises(ValueError, match=r"shape \(batch, entries, values\), got \(16, 4\)"):
        PseudoLikelihood(True)(FreeEnergy(Ising(4)), None, binary_states(4))
