"""What a world is: how its states begin, change and look."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor


class World(ABC):
    """A world of known dynamics, as pure functions of states `(*batch, features)`: any number of copies in one step.

    A subclass is a frozen dataclass whose fields are its settings. States are all that there is to know, Markov and
    floating point; they live where they are made, on any device. `observe` is what a model is shown of them, and shows
    as much as is needed to go on (the last two frames, where things move).

    Actions are `(*batch, actions)` in the box from -1 to 1, in units that the world chooses; what is outside of it is
    put back first, so that a plan that leaves the box gains nothing. In a `discrete` world they are one-hot, and the
    largest entry is what is done. `actions` is 0 where nothing can be done.

    What a step draws comes in as `noise`, so that a step is a function, which can be repeated, compiled and planned
    through. A state that has `ended` stays as it is, whatever is done.
    """

    actions: ClassVar[int]
    """Features of an action."""
    discrete: ClassVar[bool] = False
    """Whether an action is a choice."""

    episode: int
    """Steps after which an episode is over, whatever has happened."""

    @abstractmethod
    def start(self, count: int, generator: torch.Generator) -> Tensor:
        """First states of episodes `(count, features)`, on the generator's device."""

    @abstractmethod
    def step(self, states: Tensor, actions: Tensor, noise: Tensor | None = None) -> Tensor:
        """The states after it, `(*batch, features)`; the leading axes of the arguments broadcast."""

    @abstractmethod
    def observe(self, states: Tensor) -> Tensor:
        """What is seen of them, `(*batch, channels, height, width)` from 0 to 1."""

    def noise(self, states: Tensor, generator: torch.Generator) -> Tensor | None:
        """What a step draws, `(*batch, numbers)`; None in a world that leaves nothing to chance."""
        return None

    def truth(self, states: Tensor) -> dict[str, Tensor]:
        """What a probe may be asked about, by name, `(*batch, features)` each."""
        return {"state": states}

    def goal(self, states: Tensor) -> Tensor:
        """States `(*batch, features)` in which what is wanted has been reached: `observe` them for a picture of it.

        Raises ValueError in a world that wants nothing.
        """
        raise ValueError(f"nothing is wanted in {type(self).__name__}: its states have no goal")

    def succeeded(self, states: Tensor) -> Tensor:
        """Where the goal is reached, `(*batch,)` of bool."""
        return torch.zeros_like(states[..., 0], dtype=torch.bool)

    def violated(self, states: Tensor) -> Tensor:
        """Where something has happened that must not, on the way to these states too, `(*batch,)` of bool."""
        return torch.zeros_like(states[..., 0], dtype=torch.bool)

    def ended(self, states: Tensor) -> Tensor:
        """Where nothing happens any more, `(*batch,)` of bool."""
        return torch.zeros_like(states[..., 0], dtype=torch.bool)
