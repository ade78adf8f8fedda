"""Acting by what was seen before and is not seen now."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from ebm.energies.memory import Memory
from ebm.planning.agent import Agent
from ebm.planning.mpc import ModelPredictiveControl

Cues = Callable[[Tensor], tuple[Tensor, Tensor]]
"""What is seen `(batch, ...)` to a key, zeros where nothing is to be kept, and a query `(batch, key features)`."""


@final
class Remembering(Agent):
    """Stores the code of what is seen under its key, and plans with what it has stored as the goal.

    The costs of the `control`'s plan ask the memory: `Recalled(slots)`, or `Visited(slots)`. The goal that it is shown
    is not looked at. Plans begin at zero, or where the one before was going to be.
    """

    def __init__(self, control: ModelPredictiveControl, cues: Cues, slots: int) -> None:
        if control.every != 1 or control.plan.guardrails:
            raise ValueError("an agent that remembers plans anew at each step, without hard guardrails")
        if slots < 1:
            raise ValueError(f"a memory has at least 1 slot, not {slots}")
        self.control, self.cues, self.slots = control, cues, slots
        self.begin()

    @property
    def sees_states(self) -> bool:  # type: ignore[override]
        """Whether the model does."""
        return self.control.sees_states

    def begin(self) -> None:
        super().begin()
        self.memory: Memory | None = None
        self.actions: Tensor | None = None

    @torch.no_grad()
    def act(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        plan = self.control.plan
        code, _ = plan.encode(seen, None)
        key, query = self.cues(seen)
        known = Memory.empty(self.slots, key, code) if self.memory is None else self.memory
        self.memory = known.stored(key, code, (key != 0).any(-1))
        answer = self.control.infer(plan, code, self.memory.packed(query), self._start(code))
        self.evaluations += float(answer.evaluations.double().mean())
        self.actions = answer.z
        return answer.z[:, 0]

    def _start(self, code: Tensor) -> Tensor:
        start = self.control.plan.latent(code, None)
        if not self.control.warm or self.actions is None or self.actions.shape != start.shape:
            return start
        return torch.cat([self.actions[:, 1:], torch.zeros_like(start[:, :1])], 1)
