import numpy as np
import pytest
import torch
from conftest import Table
from hypothesis import given
from hypothesis import strategies as st

from ebm import FreeEnergy
from ebm.losses import Triplet


def table_of(energies):
    n = len(energies)
    table = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    table[:n, n:] = torch.as_tensor(energies)
    return Table(table)


def by_loop(energies, margin):
    total = 0.0
    for i in range(len(energies)):
        right = energies[i, i]
        wrong = np.delete(energies[i], i)
        semi_hard = [energy for energy in wrong if energy > right]
        negative = min(semi_hard) if semi_hard else max(wrong)
        total += max(0.0, right - negative + margin)
    return total / len(energies)


@pytest.mark.parametrize("margin", [0.2, 1.0])
@given(n=st.integers(2, 7), seed=st.integers(0, 2**16), levels=st.sampled_from([2, 5, 1000]))
def test_it_is_a_loop_over_semi_hard_wrong_answers(margin, n, seed, levels):
    energies = np.random.default_rng(seed).integers(0, levels, (n, n)) / levels  # few levels make ties
    table = table_of(energies)
    value = Triplet(margin)(FreeEnergy(table), *table.codes())
    assert value.item() == pytest.approx(by_loop(energies, margin), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("wrong", "chosen", "case"),
    [
        ([0.6, 0.55, 0.1], 0.55, "the lowest above the right one, and not the lowest of all"),
        ([0.5, 0.9, 0.1], 0.9, "one that ties with the right answer is not above it"),
        ([0.4, 0.1, 0.3], 0.4, "none above it: the highest"),
    ],
)
def test_it_picks(wrong, chosen, case):
    energies = np.full((4, 4), 9.0)
    energies[0] = [0.5, *wrong]
    np.fill_diagonal(energies[1:, 1:], 0.0)  # the other three rows are far beyond the margin
    table = table_of(energies)
    value = Triplet(0.2)(FreeEnergy(table), *table.codes())
    (slope,) = torch.autograd.grad(value, table.energies)
    assert value.item() == pytest.approx(max(0.0, 0.5 - chosen + 0.2) / 4, rel=1e-12), case
    pushed = torch.nonzero(slope < 0).tolist()
    assert pushed == ([[0, 4 + [0.5, *wrong].index(chosen)]] if chosen < 0.7 else []), case
