"""Two rooms whose wall and door are elsewhere in each episode: the task that EB-JEPA reports its planning on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from ebm.worlds import walls
from ebm.worlds.world import World

_AXES, _OTHERS = [0, 0, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]  # which a plane is across, and which it is along
_AWAY = 0.3  # pixels from a wall, where the recoil has not brought it off


@final
@dataclass(frozen=True)
class WallRooms(World):
    """A dot, an upright wall with a door in it, and a goal in the other room; the two rooms of PLDM and of EB-JEPA.

    Sobal et al. 2025 (2502.14819) and Terver et al. 2026 (2602.03604), whose evaluation this is: 65 x 65 pixels, a wall
    3 pixels wide and a door of 9, both at random places, start and goal in different rooms, 200 steps. The defaults are
    theirs. An action of length 1 moves the dot by `reach` pixels and none moves it further: what is longer is put back
    onto the circle. (Their environment names this limit and does not enforce it. There an exactly
    upright step that meets an outer wall makes NaN of the position, and one that meets an end of the door goes through;
    here it is as any other.)

    A dot that meets a wall stops there and recoils: `bump` standard normal pixels, those off the wall as much in either
    direction, then at least 0.3 pixels from it. Without noise it does not recoil. What is met first counts.

    A state is `x, y` of the dot and of the goal, x of the wall and y of the door, in pixels, right and down. `observe`
    shows the dot, a bell of standard deviation `dot`, and the walls; nothing has a speed, so one frame tells all.
    """

    actions: ClassVar[int] = 2

    size: int = 65
    border: float = 4.0  # where the outer walls are, from the edge of the picture
    wall: float = 1.0  # half the thickness of the inner wall
    door: float = 4.0  # half the height of the door
    wall_margin: int = 20  # from the edge of the picture, the nearest that the wall is
    door_margin: int = 10  # and the door
    dot: float = 1.3
    reach: float = 2.45
    near: float = 4.5  # from the goal, where it counts as reached
    bump: float = 0.5
    episode: int = 200

    def __post_init__(self) -> None:
        for name in ("wall", "door", "dot", "reach", "near"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive and finite, got {getattr(self, name)}")
        if self.episode < 1:
            raise ValueError(f"an episode has at least 1 step, got {self.episode}")
        if not 0 <= 8 * self.bump <= self.door:
            raise ValueError(
                f"bump must be from 0 to an eighth of door ({self.door:g}), got {self.bump}: no recoil may"
            )
        if not 0 <= self.border + 4 * self.dot < self.wall_margin - self.wall:
            least = self.border + self.wall + 4 * self.dot
            raise ValueError(f"wall_margin must be above border + wall + 4 dot = {least:g}, got {self.wall_margin}")
        if self.door_margin < self.border + self.door:
            least = self.border + self.door
            raise ValueError(f"door_margin must be at least border + door = {least:g}, got {self.door_margin}")
        if 2 * max(self.wall_margin, self.door_margin) >= self.size:
            raise ValueError(f"size {self.size} must be above twice wall_margin and twice door_margin")

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        """The wall and the door anywhere, dot and goal in different rooms, off all walls by two standard deviations."""
        wall, door = self.layouts(count, generator).unbind(-1)
        share = torch.rand(count, 5, generator=generator, device=generator.device)
        off, low = 2 * self.dot, self.border + 2 * self.dot
        high = self.bounds[1] - 2 * self.dot
        left = low + share[:, 0] * (wall - self.wall - off - low)
        right = high - share[:, 1] * (high - wall - self.wall - off)
        heights = low + share[:, 2:4] * (high - low)
        turned = share[:, 4] < 0.5
        x, goal = torch.where(turned, right, left), torch.where(turned, left, right)
        return torch.stack([x, heights[:, 0], goal, heights[:, 1], wall, door], -1)

    def layouts(self, count: int, generator: torch.Generator) -> Tensor:
        """Whole pixels `(count, 2)` for the wall and the door."""
        margins = torch.tensor([self.wall_margin, self.door_margin], device=generator.device)
        share = torch.rand(count, 2, generator=generator, device=generator.device)
        return margins + (share * (self.size - 2 * margins)).floor()

    def noise(self, states: Tensor, generator: torch.Generator) -> Tensor:
        """Two standard normal numbers, right and down."""
        return states.new_empty(*states.shape[:-1], 2).normal_(generator=generator)

    def step(self, states: Tensor, actions: Tensor, noise: Tensor | None = None) -> Tensor:
        if actions.shape[-1] != self.actions:
            raise ValueError(f"actions are (*batch, {self.actions}), got {tuple(actions.shape)}")
        move = self.reach * _onto_disk(actions.to(states.dtype))
        batch = torch.broadcast_shapes(states.shape[:-1], move.shape[:-1])
        place, rest = self._checked(states).expand(*batch, -1).split([2, 4], -1)
        moved = self._moved(place, move.expand(*batch, -1), rest[..., 2:], noise)
        return torch.cat([moved, rest], -1)

    def observe(self, states: Tensor) -> Tensor:
        """The dot and the walls, `(*batch, 2, size, size)`."""
        x, y, _, _, wall, door = self._checked(states)[..., None].unbind(-2)
        pixels = torch.arange(self.size, dtype=states.dtype, device=states.device)
        right, down = (torch.exp((pixels - at).square() / (-2 * self.dot**2)) for at in (x, y))
        inner, solid = (pixels - wall).abs() <= self.wall, (pixels - door).abs() > self.door
        across = torch.stack([right, inner.to(right)], -2)[..., None, :]
        upright = torch.stack([down, solid.to(down)], -2)[..., None]
        low, high = self.bounds
        edge = (pixels == low) | (pixels == high)
        outer = (edge | edge[:, None]).to(right)
        # In place, and both channels at once: pictures are large, and most of the time goes into touching their memory.
        return (upright * across).clamp_(min=torch.stack([torch.zeros_like(outer), outer]))

    def truth(self, states: Tensor) -> dict[str, Tensor]:
        return {"place": states[..., :2], "walls": states[..., 4:]}

    def goal(self, states: Tensor) -> Tensor:
        return torch.cat([states[..., 2:4], states[..., 2:]], -1)

    def succeeded(self, states: Tensor) -> Tensor:
        return torch.linalg.vector_norm(states[..., :2] - states[..., 2:4], dim=-1) < self.near

    def distance(self, states: Tensor) -> Tensor:
        """How far the goal is through the door, `(*batch,)`: the length of the shortest way of a point."""
        layout = states[..., None, 4:]
        return walls.distance(states[..., :2], states[..., 2:4], layout, self.wall, self.door)

    @property
    def bounds(self) -> tuple[float, float]:
        """Between the outer walls, of x and of y."""
        return self.border, self.size - 1 - self.border

    def _checked(self, states: Tensor) -> Tensor:
        if states.shape[-1] != 6:
            raise ValueError(f"a state of these rooms has 6 features, got {tuple(states.shape)}")
        return states

    def _planes(self, x: Tensor, wall: Tensor, door: Tensor) -> Tensor:
        """Left, right, top and bottom of the room that x is in, top and bottom of the door, `(*batch, 6)`."""
        left = x < wall
        low, high = (torch.full_like(x, bound) for bound in self.bounds)
        sides = [torch.where(left, low, wall + self.wall), torch.where(left, wall - self.wall, high)]
        return torch.cat([*sides, low, high, door - self.door, door + self.door], -1)

    def _times(self, place: Tensor, move: Tensor, planes: Tensor, wall: Tensor, door: Tensor) -> Tensor:
        """The share of the move after which each plane stops it, `(*batch, 6)`; infinite where it does not."""
        along, across = move[..., _AXES], move[..., _OTHERS]
        ahead = planes - place[..., _AXES]
        met = (ahead * (ahead - along) <= 0) & (along != 0)
        time = ahead / torch.where(met, along, torch.ones_like(along))
        beside = place[..., _OTHERS] + time * across
        shut = (beside[..., :2] - door).abs() > self.door
        outer = torch.cat([place[..., :1] < wall, place[..., :1] >= wall], -1)
        in_door = (beside[..., 4:] - wall).abs() <= self.wall
        outwards = torch.cat([along[..., 4:5] < 0, along[..., 5:] > 0], -1)
        stops = torch.cat([outer | shut, torch.ones_like(shut), in_door & outwards], -1)
        return torch.where(met & stops, time, torch.full_like(time, math.inf))

    def _moved(self, place: Tensor, move: Tensor, layout: Tensor, noise: Tensor | None) -> Tensor:
        wall, door = layout.split(1, -1)
        planes = self._planes(place[..., :1], wall, door)
        time, first = self._times(place, move, planes, wall, door).min(-1, keepdim=True)
        upright, in_door = first < 2, first > 3
        met = place + time.clamp_max(1) * move
        hit = torch.cat([upright, ~upright], -1)
        met = torch.where(hit, planes.gather(-1, first), met)
        push = torch.zeros_like(met) if noise is None else self.bump * noise
        at = met + torch.where(hit, -move.sign() * push.abs(), push)
        low = torch.where(in_door, _within(planes[..., 4:5], -math.inf), planes[..., 0:4:2])
        high = torch.where(in_door, _within(planes[..., 5:6], math.inf), planes[..., 1:4:2])
        at = torch.where(at <= low, low + _AWAY, at)
        at = torch.where(at >= high, high - _AWAY, at)
        return torch.where(time <= 1, at, place + move)


def _within(height: Tensor, beside: float) -> Tensor:
    """A bound for what is in the door, which the rooms to both sides do not bound."""
    return torch.cat([torch.full_like(height, beside), height], -1)


def _onto_disk(actions: Tensor) -> Tensor:
    inside = actions.clamp(-1, 1)
    return inside / torch.linalg.vector_norm(inside, dim=-1, keepdim=True).clamp_min(1)
