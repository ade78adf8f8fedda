"""What acts in a world."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor

from ebm.worlds.trajectories import Policy
from ebm.worlds.world import World


class Agent(ABC):
    """Chooses what is done next in each of a batch of episodes, all of them at once."""

    sees_states: bool = False
    """Whether it is shown states rather than observations: what no model that learned from observations may."""
    evaluations: float = 0.0
    """How often it has asked a model for a whole plan, for each episode, since it began."""

    infeasible: Tensor | None = None
    """How many of its plans broke what they must keep, since none that was found does, `(episodes,)`; None without."""

    def begin(self) -> None:
        """Forget what was: new episodes begin."""
        self.evaluations, self.infeasible = 0.0, None

    @abstractmethod
    def act(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        """Actions `(episodes, actions)` for what is seen now, and a picture of what is to be seen."""


@final
class Following(Agent):
    """An agent that follows a policy of states, such as a random one: the floor under a study."""

    sees_states = True

    def __init__(self, world: World, policy: Policy, seed: int = 0) -> None:
        self.world, self.policy, self.seed = world, policy, seed
        self.begin()

    def begin(self) -> None:
        super().begin()
        self.generator = torch.Generator().manual_seed(self.seed)

    def act(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        if self.generator.device != seen.device:
            self.generator = torch.Generator(seen.device).manual_seed(self.seed)
        return self.policy(self.world, seen, self.generator)
