"""A world so simple that what should be done in it can be read off."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from ebm.worlds import World


@dataclass(frozen=True)
class Line(World):
    """A point that walks to +1 by tenths; beyond -0.55 is where it must not be, and what it ends at."""

    actions: ClassVar[int] = 1
    episode: int = 12

    def start(self, count, generator):
        return torch.zeros(count, 1)

    def step(self, states, actions, noise=None):
        return torch.where(self.ended(states)[..., None], states, states + actions.clamp(-1, 1) / 10)

    def observe(self, states):
        return states[..., None, None]

    def goal(self, states):
        return torch.ones_like(states)

    def succeeded(self, states):
        return states[..., 0] > 0.95

    def violated(self, states):
        return states[..., 0] < -0.55

    def ended(self, states):
        return self.violated(states)
