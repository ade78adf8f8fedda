"""What is done where nothing is wanted yet: policies that data are collected with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ebm.worlds.world import World


@final
@dataclass(frozen=True)
class Uniform:
    """Actions that are uniform in the box, or among the choices, and independent of all else."""

    def __call__(self, world: World, states: Tensor, generator: torch.Generator) -> Tensor:
        shape = states.shape[:-1]
        if not world.discrete:
            return _uniform(states, (*shape, world.actions), generator) * 2 - 1
        choices = torch.randint(world.actions, shape, generator=generator, device=states.device)
        return one_hot(choices, world.actions).to(states)


@final
class Wander:
    """A heading that drifts: each step it turns by an angle of normal law, and a share of the box's edge is gone.

    The heading is a direction d on the sphere; `d <- cos|v| d + sin|v| v/|v|`, where v is normal of deviation `turn`
    (radians) and tangent to the sphere: in the plane, the angle's random walk. The action is `s d / max|d_i|`, with s
    uniform from `slowest` to 1, so that all of the box is seen, its corners too.

    It remembers its headings, one for each state; so it is made for one simulation, and copied (`copy.copy`) for one
    more that is to begin in the same way. Other leading axes begin anew. ValueError in a world whose actions are
    choices, or less than 2 numbers, where there is nothing to turn: take `Uniform`.
    """

    def __init__(self, turn: float = 0.5, slowest: float = 0.3) -> None:
        if not turn >= 0:
            raise ValueError(f"turn is the deviation of an angle, of at least 0, got {turn}")
        if not 0 <= slowest <= 1:
            raise ValueError(f"slowest is a share of the fastest action, from 0 to 1, got {slowest}")
        self.turn, self.slowest = turn, slowest
        self._heading: Tensor | None = None

    def __repr__(self) -> str:
        return f"Wander(turn={self.turn}, slowest={self.slowest})"

    def __call__(self, world: World, states: Tensor, generator: torch.Generator) -> Tensor:
        if world.discrete or world.actions < 2:
            raise ValueError(
                f"a heading needs actions of at least 2 numbers, those of {type(world).__name__} are"
                f" {'choices' if world.discrete else world.actions}: take Uniform"
            )
        shape = (*states.shape[:-1], world.actions)
        drawn = torch.randn(shape, generator=generator, device=states.device, dtype=states.dtype)
        known = self._heading
        fresh = known is None or known.shape != shape or known.device != drawn.device
        heading = _direction(drawn) if known is None or fresh else self._turned(known.to(drawn), drawn)
        self._heading = heading
        speed = self.slowest + (1 - self.slowest) * _uniform(states, (*shape[:-1], 1), generator)
        return speed * heading / heading.abs().amax(-1, keepdim=True)

    def _turned(self, heading: Tensor, drawn: Tensor) -> Tensor:
        tangent = self.turn * (drawn - (drawn * heading).sum(-1, keepdim=True) * heading)
        angle = tangent.norm(dim=-1, keepdim=True)
        return _direction(angle.cos() * heading + torch.sinc(angle / torch.pi) * tangent)


@final
class Scripted:
    """Actions that are given, `(steps, actions)` for all copies or `(*batch, steps, actions)`, one step after another.

    It remembers the step that it is at, so it is made, or copied (`copy.copy`), for one simulation. ValueError after
    the last.
    """

    def __init__(self, actions: Tensor) -> None:
        if actions.ndim < 2:
            raise ValueError(f"a script is (*batch, steps, actions), got {tuple(actions.shape)}")
        self.actions = actions
        self._step = 0

    def __repr__(self) -> str:
        return f"Scripted(actions of shape {tuple(self.actions.shape)})"

    def __call__(self, world: World, states: Tensor, generator: torch.Generator) -> Tensor:
        if self._step >= self.actions.shape[-2]:
            raise ValueError(f"the script has {self.actions.shape[-2]} steps, and one more was asked for")
        if self.actions.shape[-1] != world.actions:
            raise ValueError(
                f"the script's actions have {self.actions.shape[-1]} features, those of {type(world).__name__} have"
                f" {world.actions}"
            )
        actions = self.actions[..., self._step, :].to(states)
        self._step += 1
        return actions.expand(*states.shape[:-1], world.actions)


def _uniform(like: Tensor, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, device=like.device, dtype=like.dtype)


def _direction(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
