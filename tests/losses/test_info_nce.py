import math

import pytest
import torch
from conftest import Table, normal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ebm import FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding
from ebm.losses import InfoNCE


class Quarter(Table):
    """A table that is looked up, so that what is not asked for may be NaN."""

    def cost(self, hx, hy, z=None):
        return self.energies[hx.argmax(-1), hy.argmax(-1)]


def table_of(energies):
    """A table whose upper right quarter holds the energies of x with y: the rest is never read."""
    n = len(energies)
    table = torch.full((2 * n, 2 * n), torch.nan, dtype=energies.dtype)
    table[:n, n:] = energies
    return Quarter(table)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@given(n=st.integers(2, 6), seed=st.integers(0, 2**16))
def test_it_is_the_mean_negative_log_share_of_the_right_answer(temperature, n, seed):
    energies = normal(n, n, seed=seed)
    shares = [
        math.exp(-energies[i, i] / temperature) / sum(math.exp(-energies[i, j] / temperature) for j in range(n))
        for i in range(n)
    ]
    expected = -sum(math.log(share) for share in shares) / n
    table = table_of(energies)
    # Sums of six exponentials, in two ways.
    assert InfoNCE(temperature)(FreeEnergy(table), *table.codes()).item() == pytest.approx(expected, rel=1e-11)


def test_it_is_the_formula_of_the_paper_on_codes():
    hx, hy = normal(5, 4), normal(5, 4, seed=1)
    F = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance()))
    terms = []
    for i in range(5):
        similar = [(hx[i] @ hy[j] / hx[i].norm() / hy[j].norm()).item() / 0.1 for j in range(5)]
        terms.append(-math.log(math.exp(similar[i]) / sum(math.exp(s) for s in similar)))
    assert InfoNCE()(F, hx, hy).item() == pytest.approx(sum(terms) / 5, rel=1e-12)


@pytest.mark.parametrize("n", [2, 8])
def test_where_all_energies_are_the_same_it_is_the_log_of_the_batch(n):
    table = table_of(torch.full((n, n), 3.0, dtype=torch.float64))
    assert InfoNCE()(FreeEnergy(table), *table.codes()).item() == pytest.approx(math.log(n), rel=1e-14)


def test_each_x_is_to_find_its_y_and_not_each_y_its_x():
    table = table_of(torch.tensor([[0.0, 1.0], [2.0, 3.0]], dtype=torch.float64))
    by_rows = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2  # by columns it would be 2 for each 1
    assert InfoNCE(1.0)(FreeEnergy(table), *table.codes()).item() == pytest.approx(by_rows, rel=1e-12)


def test_energies_far_beyond_what_an_exponential_holds_are_told_apart():
    energies = torch.tensor([[1e4, 2e4], [0.0, 3e4]])
    table = table_of(energies)
    # The first x is certain; the second is wrong by 3e4 / 0.1, in single precision.
    assert InfoNCE(0.1)(FreeEnergy(table), *table.codes()).item() == pytest.approx(3e5 / 2, rel=1e-6)
