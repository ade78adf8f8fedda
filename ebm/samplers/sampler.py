"""What a sampler is: one random move, for every chain of a batch at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ebm.problem import Point as Point

Evaluate = Callable[[Tensor], Point]  # (R N, D) -> Point; what one call of it costs is one evaluation
Noise = tuple[Tensor, ...]  # each with the steps as its leading axis, or without it: the noise of one step


class State(NamedTuple):
    """What a step tells of its moves, and what it hands on to the next step; N chains, R replicas of each."""

    error: Tensor
    """What `diverged` judges, `(R N,)`: the error of the total energy along the move, or the energy itself."""
    accepted: Tensor | None = None
    """Whether the move was taken, 1 or 0, `(N,)`; None from a sampler that takes every one."""
    swapped: Tensor | None = None
    """For each pair of neighbouring replicas whether they changed places, NaN if it was not tried, `(N, R - 1)`; None
    from a sampler without replicas."""
    memory: Any = ()
    """Tensors, in nested tuples, that the sampler alone looks at."""


class Sampler(ABC):
    """How to move so that `exp(-E(z) / T)` is, or nearly is, left as it was. A frozen dataclass: the state goes in and
    comes out.

    `sample` is the one loop around it. Noise comes in as drawn by `noise`, the temperature in it: momenta of variance
    T, and thresholds of mean T that the error of the total energy must stay below, which is the test of Metropolis
    (1953) for `-T log(u)` in place of `u`. A step therefore knows energies alone and works at any temperature.
    """

    @property
    def evaluations(self) -> int:
        """Evaluations of the energy and its gradient that one step costs each chain."""
        return 1

    @property
    def replicas(self) -> int:
        """How many rows it keeps for each chain."""
        return 1

    @abstractmethod
    def init(self, point: Point) -> State:
        """The state before the first step, of chains that stand at `point`."""

    @abstractmethod
    def step(self, evaluate: Evaluate, point: Point, state: State, noise: Noise) -> tuple[Point, State]:
        """The next point and state; `evaluate` takes the rows of all replicas, those of the first one first."""

    def noise(self, z: Tensor, temperature: Tensor, steps: int, generator: torch.Generator | None) -> Noise:
        """Momenta `(steps, N, D)` of variance T and thresholds `(steps, N)` of mean T, for T `(N, 1)` or `(1, 1)`."""
        return momenta(z, temperature, steps, generator), thresholds(z, temperature, steps, generator)

    @abstractmethod
    def diverged(self, errors: Tensor) -> Tensor:
        """Which chains diverged at which step, `(steps, N)`, by `State.error` over the temperature `(steps, R N)`."""

    @property
    @abstractmethod
    def advice(self) -> str:
        """What a divergence means, and what to do about it."""


def momenta(z: Tensor, temperature: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
    """Normal numbers of variance T, `(steps, N, D)`."""
    normal = torch.randn(steps, *z.shape, generator=generator, dtype=z.dtype, device=z.device)
    return normal.mul_(temperature.sqrt())


def thresholds(z: Tensor, temperature: Tensor, steps: int, generator: torch.Generator | None) -> Tensor:
    """Exponential numbers of mean T, `(steps, N)`."""
    return z.new_empty(steps, len(z)).exponential_(generator=generator).mul_(temperature[:, 0])


def metropolis(point: Point, proposal: Point, error: Tensor, threshold: Tensor) -> tuple[Point, State]:
    """The proposal where the error of its total energy is below the threshold, else the point; NaN is refused."""
    taken = error < threshold
    column = taken[:, None]
    new = Point(
        torch.where(column, proposal.z, point.z),
        torch.where(taken, proposal.energy, point.energy),
        torch.where(column, proposal.gradient, point.gradient),
    )
    return new, State(error, taken.to(error.dtype))


def kinetic(momentum: Tensor) -> Tensor:
    """`|p|^2 / 2`, `(N,)`."""
    return momentum.square().sum(-1) / 2


def check_positive(sampler: Sampler, **values: float) -> None:
    """Raise ValueError for a setting that is not positive; infinite is allowed of a bound alone."""
    for name, value in values.items():
        if not value > 0 or (name != "divergence" and math.isinf(value)):
            raise ValueError(f"`{name}` of {type(sampler).__name__} is positive and finite, not {value}")


def check_count(owner: str, least: int, **values: int) -> None:
    """Raise ValueError for a number of things that is not whole, or below the least there can be."""
    for name, value in values.items():
        if not isinstance(value, int) or value < least:
            raise ValueError(f"`{name}` of {owner} is a whole number of at least {least}, not {value}")
