import pytest
import torch
from conftest import normal
from ising import Ising, binary_states, probabilities

from ebm import FreeEnergy
from ebm.losses import RatioMatching


def test_it_is_the_formula_of_the_paper_on_the_table_of_all_states():
    energy, states = Ising(4), binary_states(4)
    table, expected = probabilities(energy, states), 0.0
    rows = [3, 3, 8, 15, 0]
    for i in rows:
        for d in range(4):
            flipped = states[i].clone()
            flipped[d] = 1 - flipped[d]
            (j,) = [s for s in range(16) if torch.equal(states[s], flipped)]
            expected = expected + (1 / (1 + table[i] / table[j])) ** 2
    value = RatioMatching()(FreeEnergy(energy), None, states[rows])
    torch.testing.assert_close(value, expected / 5, rtol=1e-10, atol=1e-10)
    found, wanted = (torch.autograd.grad(v, list(energy.parameters())) for v in (value, expected / 5))
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_it_is_the_distance_between_the_ratios_but_for_a_constant():
    """Hyvarinen's theorem: the loss is the error of both ratios, summed over states and entries, plus what data has."""
    states, of_data = binary_states(3), probabilities(Ising(3, seed=7), binary_states(3)).detach()
    partners = [(i, i ^ (1 << d)) for i in range(8) for d in range(3)]  # states are listed in binary order
    gaps = []
    for seed in range(3):
        energy = Ising(3, seed=seed)
        table = probabilities(energy, states).detach()
        error = 0.0
        for i, j in partners:
            data, model = 1 / (1 + of_data[i] / of_data[j]), 1 / (1 + table[i] / table[j])
            back, forth = 1 / (1 + of_data[j] / of_data[i]), 1 / (1 + table[j] / table[i])
            error += of_data[i] * ((data - model) ** 2 + (back - forth) ** 2)
        loss = of_data @ RatioMatching().values(FreeEnergy(energy), None, states).detach()
        gaps.append((loss - error / 2).item())
    assert gaps == pytest.approx([gaps[0]] * 3, abs=1e-12)


def test_where_the_data_has_the_distribution_of_the_energy_it_is_flat():
    energy, states = Ising(4), binary_states(4)
    value = probabilities(energy, states).detach() @ RatioMatching().values(FreeEnergy(energy), None, states)
    for gradient in torch.autograd.grad(value, list(energy.parameters())):
        assert gradient.abs().max() < 1e-12  # an exact sum over all states, but for rounding


def test_data_that_is_not_binary_is_refused_with_its_range():
    with pytest.raises(ValueError, match="RatioMatching is for entries that are 0 or 1, got values from"):
        RatioMatching()(FreeEnergy(Ising(4)), None, normal(5, 4))
