import math

import pytest
import torch
from torch import Tensor

from ebm import Energy, FreeEnergy
from ebm.meters import binary, entries


class Independent(Energy):
    """Minus the log-probability of entries that know nothing of one another, up to a constant."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = logits

    def cost(self, hx, hy, z=None):
        return 3.0 - (hy * self.logits).sum(-1)


class Pairs(Energy):
    """Two entries that are alike: `p` is in proportion to `exp(strength)` where they are and to 1 where not."""

    def cost(self, hx, hy, z=None):
        return -2.0 * (hy[..., 0] == hy[..., 1]).to(hy.dtype)


def data(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def read(energy, hy):
    return entries(FreeEnergy(energy), hy.new_empty(len(hy), 0), hy)


def test_of_independent_entries_the_bits_are_their_cross_entropy():
    logits, hy = torch.tensor([0.3, -2.0, 1.5], dtype=torch.float64), data([0, 1, 1], [1, 0, 1])
    p = torch.where(hy == 1, logits.sigmoid(), 1 - logits.sigmoid())
    found = read(Independent(logits), hy)
    assert found["bits"] == pytest.approx(-p.log2().mean().item(), rel=1e-12)
    assert found["errors"] == pytest.approx((p < 0.5).double().mean().item())


def test_an_energy_that_knows_nothing_costs_one_bit_and_is_wrong_half_of_the_time():
    found = read(Independent(torch.zeros(3, dtype=torch.float64)), data([0, 1, 1], [1, 0, 0]))
    assert found == {"bits": pytest.approx(1.0), "errors": 0.5}


def test_each_entry_is_told_the_others():
    found = read(Pairs(), data([0, 0], [1, 1], [0, 1]))
    alike, other = math.log2(1 + math.exp(-2)), math.log2(1 + math.exp(2))
    assert found["bits"] == pytest.approx((4 * alike + 2 * other) / 6)
    assert found["errors"] == pytest.approx(1 / 3)


def test_in_parts_it_is_what_it_is_at_once(monkeypatch):
    hy = (torch.rand(50, 4, generator=torch.Generator().manual_seed(0)) < 0.5).double()
    energy = Independent(torch.tensor([0.3, -2.0, 1.5, 0.1], dtype=torch.float64))
    at_once = read(energy, hy)
    monkeypatch.setattr(binary, "ROWS", 30)
    assert read(energy, hy) == pytest.approx(at_once, rel=1e-12)


def test_data_that_is_not_binary_is_refused():
    with pytest.raises(ValueError, match="the meter `entries` is for entries that are 0 or 1"):
        read(Pairs(), data([0, 0.5]))


def test_codes_that_are_no_rows_are_refused_by_their_shape():
    with pytest.raises(ValueError, match=r"\(batch, features\), got \(2, 1, 1\)"):
        entries(FreeEnergy(Pairs()), torch.empty(2, 0), torch.zeros(2, 1, 1))
