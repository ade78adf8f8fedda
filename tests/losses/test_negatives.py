import torch
from conftest import Table, normal
from hypothesis import given
from hypothesis import strategies as st

from ebm import FreeEnergy
from ebm.losses import InfoNCE
from ebm.losses.negatives import contrast


@given(n=st.integers(2, 7))
def test_right_answers_are_the_diagonal_and_wrong_ones_all_else(n):
    pairs = normal(n, n)
    table = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    table[:n, n:] = pairs
    energies = contrast(InfoNCE(), FreeEnergy(Table(table)), *Table(table).codes())
    assert torch.equal(energies.right, pairs.diagonal())
    assert torch.equal(energies.wrong, pairs.masked_fill(torch.eye(n, dtype=torch.bool), torch.inf))
