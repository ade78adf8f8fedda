"""A memory: what is stored is found, by formulas written out pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ebm.energies.costs import Imagined
from ebm.energies.memory import Memory, Recalled, Visited, unpacked


def filled(count: int, slots: int = 4) -> Memory:
    """A memory for each of 3, of keys of 2 features and values of 5, in float64."""
    generator = torch.Generator().manual_seed(0)
    memory = Memory.empty(slots, torch.zeros(3, 2).double(), torch.zeros(3, 5).double())
    for _ in range(count):
        key, value = (torch.randn(3, n, generator=generator, dtype=torch.float64) for n in (2, 5))
        memory = memory.stored(key, value)
    return memory


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def by_hand(memory: Memory, i: int, query: Tensor, value: Tensor, beta: float, weight: float) -> float:
    total = 0.0
    for n in range(memory.keys.shape[1]):
        if memory.filled[i, n] > 0:
            apart = weight * float(((query - memory.keys[i, n]) ** 2).mean())
            total += math.exp(-beta * (apart + float(((value - memory.values[i, n]) ** 2).mean())))
    return -math.log(total) / beta


def test_the_energy_is_that_of_the_formula() -> None:
    memory, query, value = filled(3), drawn(3, 2), drawn(3, 5)
    expected = [by_hand(memory, i, query[i], value[i], 2.0, 3.0) for i in range(3)]
    assert memory.energy(query, value, sharpness=2.0, weight=3.0).tolist() == pytest.approx(expected, rel=1e-12)


def test_reading_is_the_step_along_the_slope_of_the_energy_of_keys() -> None:
    """With keys for values: q - F'(q) D / 2 is the mean of the stored ones that attention takes."""
    memory = filled(4)
    same = Memory(memory.values, memory.values, memory.filled)
    query = drawn(3, 5).requires_grad_()
    blank = Memory(memory.keys * 0, memory.values, memory.filled)
    (slope,) = torch.autograd.grad(blank.energy(torch.zeros(3, 2).double(), query, sharpness=2.0).sum(), query)
    torch.testing.assert_close(query - slope * 5 / 2, same.read(query, sharpness=2.0))


def test_a_sharp_read_is_the_value_of_the_nearest_key() -> None:
    memory = filled(4)
    torch.testing.assert_close(memory.read(memory.keys[:, 2], sharpness=1e4), memory.values[:, 2])


def test_the_oldest_is_forgotten_first() -> None:
    memory = filled(4)
    new = memory.stored(drawn(3, 2), drawn(3, 5))
    assert torch.equal(new.keys[:, :-1], memory.keys[:, 1:])
    assert torch.equal(new.values[:, -1], drawn(3, 5))


def test_only_those_store_that_are_told_to() -> None:
    memory = filled(2)
    new = memory.stored(drawn(3, 2), drawn(3, 5), torch.tensor([True, False, True]))
    assert new.filled.sum(1).tolist() == [3, 2, 3]
    assert torch.equal(new.values[1], memory.values[1])


def test_an_empty_memory_has_no_preference_and_no_slope() -> None:
    memory, value = filled(0), drawn(3, 5).requires_grad_()
    energies = memory.energy(drawn(3, 2), value)
    (slope,) = torch.autograd.grad(energies.sum(), value)
    assert energies.tolist() == [0, 0, 0]
    assert float(slope.abs().max()) == 0
    assert float(memory.read(drawn(3, 2)).abs().max()) == 0
    assert float(memory.familiarity(value.detach()).max()) == 0


def test_packing_loses_nothing() -> None:
    memory, query = filled(3), drawn(3, 2)
    found, parts = unpacked(memory.packed(query), 4, 5)
    assert torch.equal(found, query)
    for part, kept in zip(parts, memory, strict=True):
        assert torch.equal(part, kept)


def test_a_plan_that_recalls_is_cheap_where_the_called_one_was() -> None:
    memory = filled(4)
    cost, goal = Recalled(slots=4, sharpness=50.0, weight=100.0), memory.packed(memory.keys[:, 1])
    costs = []
    for slot in range(4):
        codes = memory.values[:, slot, None].expand(3, 6, 5)
        costs.append(cost(Imagined(codes[:, 0], codes, codes[..., :2]), goal))
    assert torch.stack(costs).argmin(0).tolist() == [1, 1, 1]
    torch.testing.assert_close(costs[1], torch.zeros(3).double(), atol=1e-9, rtol=0)  # others are e^-50 and less


def test_costs_broadcast_over_candidates() -> None:
    memory = filled(3)
    codes, goal = drawn(7, 3, 6, 5), memory.packed(drawn(3, 2))
    for cost in (Recalled(4), Visited(4)):
        together = cost(Imagined(codes[..., 0, :], codes, codes[..., :2]), goal)
        alone = cost(Imagined(codes[2, ..., 0, :], codes[2], codes[2, ..., :2]), goal)
        assert together.shape == (7, 3)
        torch.testing.assert_close(together[2], alone)


def test_what_was_visited_costs_and_what_is_far_does_not() -> None:
    memory = filled(1)
    codes = torch.stack([memory.values[:, -1], memory.values[:, -1] + 100], 1)
    cost = Visited(4)
    near, far = (cost(Imagined(c[:, 0], c, c[..., :2]), memory.packed(drawn(3, 2))) for c in codes.split(1, 1))
    assert near.tolist() == [1, 1, 1]
    assert far.tolist() == [0, 0, 0]


def test_bad_input_is_refused() -> None:
    codes = drawn(3, 6, 5)
    imagined = Imagined(codes[:, 0], codes, codes[..., :2])
    with pytest.raises(ValueError, match="at least 1 slot"):
        Memory.empty(0, drawn(3, 2), drawn(3, 5))
    with pytest.raises(ValueError, match="stores keys"):
        filled(1).stored(drawn(3, 3), drawn(3, 5))
    with pytest.raises(ValueError, match="sharpness"):
        Recalled(4, sharpness=0.0)
    for cost in (Recalled(4), Visited(4)):
        with pytest.raises(ValueError, match="memory"):
            cost(imagined, None)
        with pytest.raises(ValueError, match="no memory of 4 slots"):
            cost(imagined, drawn(3, 12))
