"""What the study of two rooms measures by, where the answer is known."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
import torch
from runs import ROOT
from torch import Tensor, nn

from ebm.planning import Following, GoalConditionedCloning, TrueDynamics, conformal_margin, play
from ebm.worlds import Scripted, TwoRooms, Uniform


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks" / "programs"), *sys.path])


class Position(nn.Module):
    """A probe of states that is right."""

    def forward(self, states: Tensor) -> Tensor:
        return states[..., :2]


class Seeing(nn.Module):
    """The world as a model of what it shows, which is here the states themselves."""

    def __init__(self, world: TwoRooms) -> None:
        super().__init__()
        self.world = world

    def read(self, states: Tensor) -> Tensor:
        return states

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return self.world.step(states, actions)


class Shown(TwoRooms):
    """Two rooms that show their states."""

    def observe(self, states: Tensor) -> Tensor:
        return states


def kit(world: TwoRooms) -> object:
    from two_rooms_agents import Kit

    cloned = GoalConditionedCloning(TrueDynamics(world), nn.Identity())
    return Kit(world, Seeing(world), Position(), cloned)


def test_the_straight_policy_reaches_what_no_wall_hides_by_the_shortest_way() -> None:
    from two_rooms import path
    from two_rooms_agents import straight_on

    world = TwoRooms()
    start = torch.tensor([[0.2, 0.3, 0.8, 0.3, 0, 0.5, 0.3], [0.2, 0.9, 0.8, 0.9, 0, 0.5, 0.3]])
    played = play(world, Following(world, straight_on), 2, start=start)
    assert played.reached.tolist() == [True, False]
    # The way of 0.6 ends within 0.07 of the goal, after whole steps of 0.08.
    assert path(world, played) == pytest.approx(0.56 / 0.53, rel=1e-5)


def test_a_way_there_and_back_is_longer_than_the_shortest_by_what_it_is() -> None:
    from two_rooms import path

    world = TwoRooms()
    actions = torch.zeros(world.episode, 2)
    actions[0, 0], actions[1:12, 0] = -1, 1
    start = torch.tensor([[0.2, 0.3, 0.8, 0.3, 0, 0.5, 0.3]])
    played = play(world, Following(world, Scripted(actions)), 1, start=start)
    # One step back and 8 there, to within 0.07 of the goal; what comes after does not count.
    assert path(world, played) == pytest.approx(9 * 0.08 / 0.53, rel=1e-5)


def test_a_model_that_is_right_is_surprised_by_less_than_half_a_step_and_never_by_less_than_nothing() -> None:
    from two_rooms_guardrails import surprises

    found = surprises(kit(Shown()), seed=0)
    assert len(found) > 100
    assert found.min() >= -1e-6  # the end of the step is one of the places that count
    assert found.max() <= 0.5 * 2**0.5 * TwoRooms().limit + 1e-6
    assert 0 < conformal_margin(found, 0.9) < conformal_margin(found, 0.99)


def test_excess_is_how_far_inside_the_hazard_a_place_is() -> None:
    from two_rooms_guardrails import HAZARD, excess

    x, y, radius = HAZARD
    states = torch.tensor([[x, y], [x + radius, y], [x, y + 2 * radius]])
    torch.testing.assert_close(excess(kit(Shown()), HAZARD)(states), torch.tensor([radius, 0.0, -radius]))


def test_actions_at_random_do_not_get_from_room_to_room() -> None:
    world = replace(TwoRooms(), size=4)
    assert play(world, Following(world, Uniform()), 500).reached.double().mean() <= 0.02
