"""An agent with a memory, whose model of the dot is the truth: it finds as many places as it holds."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from ebm.energies import Effort, Guardrail, Plan, Recalled
from ebm.energies.dynamics import Dynamics
from ebm.planning import ModelPredictiveControl, Remembering, play
from ebm.solvers import Adam
from ebm.worlds import Errands

WORLD = Errands()


class Dot(Dynamics):
    """Where a free dot goes; what is read of a state is the dot's place."""

    sees_states: ClassVar[bool] = True

    def read(self, observations: Tensor) -> Tensor:
        return observations[..., :2]

    def step(self, code: Tensor, action: Tensor, z: Tensor | None = None) -> Tensor:
        return code + WORLD.limit * action.clamp(-1, 1)


def control(**settings: int) -> ModelPredictiveControl:
    plan = Plan(Dot(), Recalled(4, sharpness=50.0), horizon=3)
    return ModelPredictiveControl(plan, Adam(rate=0.5, steps=5), **settings)


def seen_signs(states: Tensor) -> tuple[Tensor, Tensor]:
    return WORLD.signs(WORLD.observe(states))


def test_a_memory_of_all_places_finds_each() -> None:
    played = play(WORLD, Remembering(control(), seen_signs, 4), 24)
    assert bool(played.at_goal.all())


def test_a_memory_of_the_last_two_finds_the_last_two() -> None:
    plan = Plan(Dot(), Recalled(2, sharpness=50.0), horizon=3)
    agent = Remembering(ModelPredictiveControl(plan, Adam(rate=0.5, steps=5)), seen_signs, 2)
    played = play(WORLD, agent, 24)
    called = played.states[:, 0, 10:14].argmax(1)
    assert torch.equal(played.at_goal, called >= 2)


def test_new_episodes_begin_with_an_empty_memory() -> None:
    agent = Remembering(control(), seen_signs, 4)
    first = play(WORLD, agent, 3)
    again = play(WORLD, agent, 3)
    assert torch.equal(first.states, again.states)
    agent.begin()
    assert agent.memory is None


def test_agents_that_cannot_remember_are_refused() -> None:
    with pytest.raises(ValueError, match="anew at each step"):
        Remembering(control(every=2), seen_signs, 4)
    guarded = control().plan.configured(costs=Effort(), guardrails=[Guardrail(lambda code: code[..., 0])])
    with pytest.raises(ValueError, match="without hard guardrails"):
        Remembering(ModelPredictiveControl(guarded, Adam()), seen_signs, 4)
    with pytest.raises(ValueError, match="slot"):
        Remembering(control(), seen_signs, 0)
