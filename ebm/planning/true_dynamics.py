"""The world itself in the place of a model of it."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor

from ebm.energies.dynamics import Dynamics
from ebm.worlds.world import World


@final
class TrueDynamics(Dynamics):
    """A world as dynamics: codes are its states, and what it leaves to chance is the latent.

    Plans through it are a ceiling: what is then missed is missed by the planner, not by a model.
    """

    sees_states: ClassVar[bool] = True

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def read(self, observations: Tensor) -> Tensor:
        return observations

    def step(self, code: Tensor, action: Tensor, z: Tensor | None = None) -> Tensor:
        if action.shape[-1] != self.world.actions:
            raise ValueError(
                f"actions in {type(self.world).__name__} have {self.world.actions} features, those of the plan have"
                f" {action.shape[-1]}: make it with actions={self.world.actions}"
            )
        return self.world.step(code, action, z)

    def noise(self, codes: Tensor, generator: torch.Generator) -> Tensor | None:
        return self.world.noise(codes, generator)
