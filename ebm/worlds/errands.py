"""Errands: places are shown once, each with a sign of its own; then a sign is called, and its place is to be found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from ebm.worlds import walls
from ebm.worlds.world import World

BLOB = 0.08  # how wide the dot looks, in sides of the square
EDGE = 0.1  # of the square, and half of the gap between its quarters, where no place is
MOST = 0.1  # half of how far places are from each other, and less than how far they are from the middle


@final
@dataclass(frozen=True)
class Errands(World):
    """A dot in the unit square is taken round up to four places, one a step, and put into the middle; then it is free.

    Each place lies in a quarter of its own. Its sign is seen where the dot is at it; once the dot is free it is seen
    which sign is called. Being at any place then ends the episode: it has succeeded if that is the one called. So no
    place can be tried, and what is seen does not tell which is right: **observations of this world are not Markov**.
    Without a memory no more than one in `places` can succeed; with one of fewer slots, the share that it holds.

    A state is the dot (2), the places (2 each), the called one (one-hot), and the step. `observe` shows the dot, then a
    plane for each sign where it is, then a plane for each that is called. Actions move the dot by `limit`, right and
    down. Nothing is left to chance.
    """

    actions: ClassVar[int] = 2

    places: int = 4
    size: int = 12
    limit: float = 0.1
    near: float = 0.1
    episode: int = 16

    def __post_init__(self) -> None:
        if not 2 <= self.places <= 4:
            raise ValueError(f"there are 2 to 4 places, a quarter of the square each, not {self.places}")
        for name in ("limit", "near"):
            if not 0 < getattr(self, name) <= MOST:
                raise ValueError(f"{name} must be above 0 and up to {MOST}, got {getattr(self, name)}")
        if self.size < 4 or self.episode <= self.places:
            raise ValueError(
                f"size is at least 4 and episode above the number of places, got {self.size} and {self.episode}"
            )

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        share = torch.rand(count, 3 * self.places + 5, generator=generator, device=generator.device)
        quarter = share[:, :4].argsort(-1)[:, : self.places]
        corners = torch.stack([quarter % 2, quarter // 2], -1)
        within = share[:, 5 : 5 + 2 * self.places].unflatten(-1, (self.places, 2))
        places = EDGE + corners * 0.5 + within * (0.5 - 2 * EDGE)
        called = torch.nn.functional.one_hot((share[:, 4] * self.places).long(), self.places)
        step = share.new_zeros(count, 1)
        return torch.cat([places[:, 0], places.flatten(1), called.to(share), step], -1)

    def step(self, states: Tensor, actions: Tensor, noise: Tensor | None = None) -> Tensor:
        if actions.shape[-1] != self.actions:
            raise ValueError(f"actions are (*batch, {self.actions}), got {tuple(actions.shape)}")
        batch = torch.broadcast_shapes(states.shape[:-1], actions.shape[:-1])
        states = states.expand(*batch, -1)
        dot, places, _, step = self._parts(states)
        # A NaN in an action is that of a free dot, which nothing hides.
        free = (dot + self.limit * actions.to(states.dtype).clamp(-1, 1)).clamp(0, 1)
        after = step + 1
        index = after.clamp(0, self.places - 1).long()
        toured = places.gather(-2, index[..., None].expand(*batch, 1, 2))[..., 0, :]
        middle = torch.full_like(dot, 0.5)
        moved = torch.where(after < self.places, toured, torch.where(after == self.places, middle, free))
        new = torch.cat([moved, states[..., 2:-1], after], -1)
        return torch.where(self.ended(states)[..., None], states, new)

    def observe(self, states: Tensor) -> Tensor:
        """`(*batch, 1 + 2 places, size, size)`."""
        dot, _, called, step = self._parts(states)
        signs = torch.cat([self._here(states).to(states.dtype), called * (step >= self.places)], -1)
        planes = signs[..., None, None].expand(*signs.shape, self.size, self.size)
        return torch.cat([walls.blob(dot, self.size, BLOB)[..., None, :, :], planes], -3)

    def signs(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """The sign of where the dot is, and that which is called, `(*batch, places)` each; zeros for none."""
        here, called = observations[..., 1:, 0, 0].split(self.places, -1)
        return here, called

    def truth(self, states: Tensor) -> dict[str, Tensor]:
        return {"place": states[..., :2]}

    def goal(self, states: Tensor) -> Tensor:
        _, places, called, step = self._parts(states)
        there = (called[..., None, :] @ places)[..., 0, :]
        return torch.cat([there, states[..., 2:-1], step.clamp_min(self.places)], -1)

    def succeeded(self, states: Tensor) -> Tensor:
        _, _, called, step = self._parts(states)
        return (self._here(states) & (called > 0.5)).any(-1) & (step[..., 0] >= self.places)

    def ended(self, states: Tensor) -> Tensor:
        return self._here(states).any(-1) & (states[..., -1] >= self.places)

    def _here(self, states: Tensor) -> Tensor:
        dot, places, _, _ = self._parts(states)
        return torch.linalg.vector_norm(places - dot[..., None, :], dim=-1) < self.near

    def _parts(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if states.shape[-1] != 3 + 3 * self.places:
            raise ValueError(f"a state has {3 + 3 * self.places} features here, got {tuple(states.shape)}")
        dot, places, called, step = states.split([2, 2 * self.places, self.places, 1], -1)
        return dot, places.unflatten(-1, (-1, 2)), called, step
