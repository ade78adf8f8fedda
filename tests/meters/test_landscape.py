import math

import pytest
import torch
from conftest import Table, normal
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ebm import FreeEnergy
from ebm.meters import energy_gap


class Lookup:
    """A free energy that is a table: codes are row numbers."""

    def __init__(self, energies):
        self.energies = energies

    def pairs(self, hx, hy):
        return self.energies[hx[:, 0].long()][:, hy[:, 0].long()]


def gap_of(energies):
    rows = torch.arange(len(energies)).unsqueeze(1)
    return energy_gap(Lookup(energies), rows, rows)


def gap_by_loop(energies):
    n = len(energies)
    matching = [float(energies[i, i]) for i in range(n)]
    mismatched = [float(energies[i, j]) for i in range(n) for j in range(n) if i != j]
    wins = sum((low < high) + (low == high) / 2 for low in matching for high in mismatched)
    return {
        "energy_matching": sum(matching) / len(matching),
        "energy_mismatched": sum(mismatched) / len(mismatched),
        "auroc": wins / (len(matching) * len(mismatched)),
    }


@given(n=st.integers(2, 12), values=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_the_gap_is_that_of_a_loop_over_all_pairs_with_and_without_ties(n, values, seed):
    energies = (normal(n, n, seed=seed) * values).round() if values < 9 else normal(n, n, seed=seed)
    assert gap_of(energies) == pytest.approx(gap_by_loop(energies), rel=1e-12, abs=1e-12)


@given(n=st.integers(2, 12), seed=st.integers(0, 2**16))
def test_auroc_is_that_of_scikit_learn_with_ties(n, seed):
    energies = (3 * normal(n, n, seed=seed)).round()
    expected = roc_auc_score(torch.eye(n).flatten(), -energies.flatten())
    assert gap_of(energies)["auroc"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("matching", "auroc"), [(-1.0, 1.0), (0.0, 0.5), (1.0, 0.0)])
def test_auroc_is_one_where_matching_pairs_are_lower_half_where_all_are_the_same_and_else_zero(matching, auroc):
    assert gap_of(matching * torch.eye(6))["auroc"] == auroc


def test_auroc_has_no_unit_and_the_means_have_that_of_the_energy():
    energies = normal(7, 7)
    once, scaled = gap_of(energies), gap_of(1000 * energies + 5)
    assert scaled["auroc"] == once["auroc"]
    assert scaled["energy_matching"] == pytest.approx(1000 * once["energy_matching"] + 5)
    assert scaled["energy_mismatched"] == pytest.approx(1000 * once["energy_mismatched"] + 5)


def test_the_gap_of_a_free_energy_is_that_of_its_pairs():
    table = Table(normal(8, 8))
    assert energy_gap(FreeEnergy(table), *table.codes()) == pytest.approx(gap_by_loop(table.energies.detach()[:4, 4:]))


def test_only_the_first_1024_samples_are_compared():
    rows = torch.arange(1030).unsqueeze(1)
    asked = []

    class Counting:
        def pairs(self, hx, hy):
            asked.append((hx, hy))
            return torch.zeros(len(hx), len(hy))

    energy_gap(Counting(), rows, rows)
    ((hx, hy),) = asked
    torch.testing.assert_close(hx, rows[:1024])
    torch.testing.assert_close(hy, rows[:1024])


def test_one_pair_has_an_energy_and_nothing_to_compare_it_with():
    measured = gap_of(torch.tensor([[2.0]]))
    assert measured["energy_matching"] == 2
    assert math.isnan(measured["energy_mismatched"])
    assert math.isnan(measured["auroc"])
