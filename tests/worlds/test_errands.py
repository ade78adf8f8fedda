"""Errands: the tour, what is seen when, and that one step without a memory tells nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ebm.worlds.errands import Errands

WORLD = Errands()


def begun(count: int = 200, steps: int = 0, action: float = 0.0) -> Tensor:
    states = WORLD.start(count, torch.Generator().manual_seed(0))
    for _ in range(steps):
        states = WORLD.step(states, torch.full((count, 2), action))
    return states


def test_the_tour_goes_by_every_place_and_ends_in_the_middle() -> None:
    places = begun()[:, 2:10].unflatten(1, (4, 2))
    for step in range(4):
        states = begun(steps=step, action=0.7)
        assert torch.equal(states[:, :2], places[:, step])
        here, called = WORLD.signs(WORLD.observe(states))
        assert torch.equal(here, torch.eye(4)[step].expand(200, 4))
        assert not bool(called.any())
    assert torch.equal(begun(steps=4, action=0.7)[:, :2], torch.full((200, 2), 0.5))


def test_places_lie_in_quarters_of_their_own_and_each_is_called_as_often() -> None:
    states = begun(4000)
    places = states[:, 2:10].unflatten(1, (4, 2))
    quarters = (places > 0.5).long() @ torch.tensor([1, 2])
    assert torch.equal(quarters.sort(1).values, torch.arange(4).expand(4000, 4))
    shares = states[:, 10:14].mean(0)
    torch.testing.assert_close(shares, torch.full((4,), 0.25), atol=0.03, rtol=0)  # 4 deviations of 4,000 draws


def test_the_called_sign_is_seen_once_free_and_the_place_is_not() -> None:
    free = begun(steps=4)
    here, called = WORLD.signs(WORLD.observe(free))
    assert not bool(here.any())
    assert torch.equal(called, free[:, 10:14])
    moved = free.clone()
    moved[:, 2:10] = 1 - moved[:, 2:10]  # other places, as far from the middle
    assert torch.equal(WORLD.observe(free), WORLD.observe(moved))


def test_the_called_place_is_success_and_another_one_ends_it_too() -> None:
    free = begun(steps=4)
    there = WORLD.goal(free)
    assert bool(WORLD.succeeded(there).all())
    assert bool(WORLD.ended(there).all())
    other = there.clone()
    other[:, 10:14] = other[:, 10:14].roll(1, 1)
    assert not bool(WORLD.succeeded(other).any())
    assert torch.equal(WORLD.step(other, torch.ones(200, 2)), other)


def test_the_tour_ends_nothing() -> None:
    touring = begun(steps=2)
    assert not bool(WORLD.ended(touring).any())
    assert not bool(WORLD.succeeded(touring).any())


def test_going_straight_there_arrives_in_time() -> None:
    states = begun(steps=4)
    for _ in range(WORLD.episode - 4):
        way = WORLD.goal(states)[:, :2] - states[:, :2]
        states = WORLD.step(states, way / WORLD.limit)
    assert bool(WORLD.succeeded(states).all())


@pytest.mark.parametrize("change", [{"places": 5}, {"limit": 0.0}, {"near": 0.2}, {"size": 2}, {"episode": 4}])
def test_errands_that_cannot_be_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"places|limit|near|size|episode"):
        Errands(**change)
