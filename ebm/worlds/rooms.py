"""Rooms in the unit square, with walls that have one door each: an agent, a goal, and perhaps a hazard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ebm.worlds import walls
from ebm.worlds.world import World

BORDER = 0.03  # how near the agent's middle comes to the edge of the square
APART = 0.02  # how far from a wall's surface it begins at least
BLOB = 0.05  # how wide it looks


@dataclass(frozen=True)
class Rooms(World, ABC):
    """The agent goes `limit * action`, unless the straight way there touches a wall: then it stays where it is.

    Both coordinates are kept `BORDER` away from the edge of the square. States are `(*batch, 5 + 2 walls)`: position,
    goal, whether the hazard was touched, and x of its middle and y of its door's for each wall from left to right.
    A NaN in an action makes its own copy's position NaN, and no other's.

    `observe` gives two channels, the agent as a soft dot and the walls; nothing moves by itself, so one frame tells
    all. The goal is not in it: `observe(goal(states))` is its picture. The hazard is a rule, which changes nothing that
    happens; so that a model learned without it still fits, it is a third channel only with `hazard_shown`. `violated`
    tells whether any way so far came within it. Nothing ends an episode early.
    """

    size: int = 32
    limit: float = 0.08
    door: float = 0.12
    thickness: float = 0.03
    reached: float = 0.07
    episode: int = 40
    hazard: tuple[float, float, float] | None = None
    hazard_shown: bool = False
    anywhere: bool = False

    actions: ClassVar[int] = 2

    def __post_init__(self) -> None:
        whole = {"size": self.size, "episode": self.episode}
        lengths = {"limit": self.limit, "door": self.door, "thickness": self.thickness, "reached": self.reached}
        for name, value in whole.items():
            if value < 1:
                raise ValueError(f"{name} is a number of at least 1, got {value}")
        for name, length in lengths.items():
            if not 0 < length < 1:
                raise ValueError(f"{name} is a length in the unit square, between 0 and 1, got {length}")
        if self.hazard is not None and (len(self.hazard) != 3 or not self.hazard[2] > 0):
            raise ValueError(f"hazard is (x, y, radius) with a radius above 0, got {self.hazard}")
        if self.hazard_shown and self.hazard is None:
            raise ValueError("hazard_shown paints a hazard, and none is given: set hazard=(x, y, radius)")

    @abstractmethod
    def layout(self, count: int, generator: torch.Generator) -> Tensor:
        """The walls of so many episodes, `(count, walls, 2)`."""

    @abstractmethod
    def ends(self, walls: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """A place at the left and one at the right, `(count, 2)` each, of uniform numbers `(count, 4)` from 0 to 1."""

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        """Agent and goal at the two `ends`, either way round; with `anywhere`, each in any place that is free."""
        layout = self.layout(count, generator)
        drawn = torch.rand(count, 5, generator=generator, device=generator.device)
        if self.anywhere:
            position, goal = (self._free(layout, drawn[:, i : i + 2]) for i in (0, 2))
        else:
            left, right = self.ends(layout, drawn[:, :4])
            swap = drawn[:, 4:] < 0.5
            position, goal = torch.where(swap, right, left), torch.where(swap, left, right)
        touched = self._near(position, position)
        return torch.cat([position, goal, touched.to(position).unsqueeze(-1), layout.flatten(1)], -1)

    def step(self, states: Tensor, actions: Tensor, noise: Tensor | None = None) -> Tensor:
        if actions.shape[-1] != self.actions:
            raise ValueError(f"actions are (*batch, {self.actions}), got {tuple(actions.shape)}")
        batch = torch.broadcast_shapes(states.shape[:-1], actions.shape[:-1])
        position, _, touched, layout = _parts(states)
        wanted = position + self.limit * actions.to(states.dtype).clamp(-1, 1)
        after = wanted.clamp(BORDER, 1 - BORDER)
        stuck = walls.blocked(position, after, layout, self.thickness, self.door)
        after = torch.where(stuck.unsqueeze(-1), position, after)
        touched = torch.maximum(touched, self._near(position, after).to(states.dtype).unsqueeze(-1))
        rest = states[..., 2:4], touched, states[..., 5:]
        return torch.cat([part.expand(*batch, -1) for part in (after, rest[0], rest[1], rest[2])], -1)

    def observe(self, states: Tensor) -> Tensor:
        position, _, _, layout = _parts(states)
        channels = [walls.blob(position, self.size, BLOB), walls.picture(layout, self.size, self.thickness, self.door)]
        if self.hazard is not None and self.hazard_shown:
            shape = walls.disk(states.new_tensor(self.hazard[:2]), self.hazard[2], self.size)
            channels.append(shape.expand_as(channels[0]))
        return torch.stack(channels, -3)

    def truth(self, states: Tensor) -> dict[str, Tensor]:
        return {"position": states[..., :2]}

    def goal(self, states: Tensor) -> Tensor:
        return torch.cat([states[..., 2:4], states[..., 2:]], -1)

    def succeeded(self, states: Tensor) -> Tensor:
        return vector_norm(states[..., :2] - states[..., 2:4], dim=-1) < self.reached

    def violated(self, states: Tensor) -> Tensor:
        return states[..., 4] > 0

    def distance(self, states: Tensor) -> Tensor:
        """How far the goal is through the doors, `(*batch,)`: the length of the shortest way of a point."""
        position, goal, _, layout = _parts(states)
        return walls.distance(position, goal, layout, self.thickness, self.door)

    def _near(self, before: Tensor, after: Tensor) -> Tensor:
        if self.hazard is None:
            return torch.zeros_like(after[..., 0], dtype=torch.bool)
        x, y, radius = self.hazard
        return walls.gone_near(before, after, after.new_tensor([x, y]), radius)

    def _free(self, layout: Tensor, drawn: Tensor) -> Tensor:
        """Places that are uniform over all but the walls' upright bands, `(count, 2)`: bands are jumped over."""
        band = 2 * (self.thickness + APART)
        x, y = drawn.unbind(-1)
        x = BORDER + x * (1 - 2 * BORDER - band * layout.shape[1])
        for middle in layout[..., 0].unbind(1):  # from left to right
            x = torch.where(x > middle - band / 2, x + band, x)
        return torch.stack([x, BORDER + y * (1 - 2 * BORDER)], -1)


def _parts(states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Position, goal, whether the hazard was touched, and walls `(*batch, walls, 2)`."""
    return states[..., :2], states[..., 2:4], states[..., 4:5], states[..., 5:].unflatten(-1, (-1, 2))
