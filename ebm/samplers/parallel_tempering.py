"""Parallel tempering: chains at a ladder of temperatures that change places."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.samplers.hamiltonian import Hamiltonian
from ebm.samplers.sampler import Evaluate, Noise, Point, Sampler, State, thresholds


class Ladder(NamedTuple):
    """The replicas of N chains on R rungs, coldest first."""

    replicas: Point  # rows (R N, D)
    state: State  # of the sampler that moves them
    tried: Tensor  # (R - 1, 1): the pairs that the next step tries, every other one
    gaps: Tensor  # (R - 1, 1) of the inverse temperatures of neighbours


@final
@dataclass(frozen=True)
class ParallelTempering(Sampler):
    """Each chain has replicas at the temperatures `ladder * T`, moved by `sampler`; neighbours then change places with
    probability `min(1, exp((1/T_k - 1/T_k+1) (E_k - E_k+1)))` (Geyer 1991), even and odd pairs in turn (Syed et al.
    2022). The chain that is returned is the coldest.

    Hot replicas cross barriers that hold a chain at T, and hand down what they find. All are evaluated at once where
    `given` is named. Some 0.2 to 0.6 of the swaps should succeed: below, put a rung between.
    """

    sampler: Sampler = field(default_factory=Hamiltonian)
    ladder: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ladder", tuple(self.ladder))
        rising = all(low < high for low, high in zip(self.ladder, self.ladder[1:], strict=False))
        if len(self.ladder) < 2 or self.ladder[0] != 1 or not rising or math.isinf(self.ladder[-1]):
            raise ValueError(
                "a ladder is two or more temperatures, as multiples of that asked for, from 1 upwards, not"
                f" {self.ladder}"
            )
        if self.sampler.replicas > 1:
            raise ValueError(f"{type(self.sampler).__name__} has replicas of its own: give a sampler without them")

    @property
    def evaluations(self) -> int:
        return len(self.ladder) * self.sampler.evaluations

    @property
    def replicas(self) -> int:
        return len(self.ladder)

    def init(self, point: Point) -> State:
        rungs = len(self.ladder)
        replicas = Point(*(part.repeat(rungs, *[1] * (part.ndim - 1)) for part in point))
        inverse = 1 / point.energy.new_tensor(self.ladder)
        even = torch.arange(rungs - 1, device=point.z.device) % 2 == 0
        state = self.sampler.init(replicas)
        memory = Ladder(replicas, state, even[:, None], (inverse[:-1] - inverse[1:])[:, None])
        return State(state.error, memory=memory)

    def step(self, evaluate: Evaluate, point: Point, state: State, noise: Noise) -> tuple[Point, State]:
        was, n = Ladder(*state.memory), len(point.z)
        moved, inner = self.sampler.step(evaluate, was.replicas, was.state, noise[:-1])
        energy = moved.energy.reshape(-1, n)
        taken = was.tried & (was.gaps * (energy[1:] - energy[:-1]) < noise[-1].T)
        replicas = _swap(moved, taken)
        swapped = torch.where(was.tried, taken.to(energy.dtype), math.nan).T
        memory = Ladder(replicas, inner, ~was.tried, was.gaps)
        accepted = None if inner.accepted is None else inner.accepted[:n]
        return Point(*(part[:n] for part in replicas)), State(inner.error, accepted, swapped, memory)

    def noise(self, z: Tensor, temperature: Tensor, steps: int, generator: torch.Generator | None) -> Noise:
        rungs, n = len(self.ladder), len(z)
        scale = temperature.new_tensor(self.ladder).repeat_interleave(n)[:, None]
        inner = self.sampler.noise(z.repeat(rungs, 1), temperature * scale, steps, generator)
        pairs = thresholds(z.new_empty(n * (rungs - 1), 1), temperature, steps, generator)
        return *inner, pairs.reshape(steps, n, rungs - 1)

    def diverged(self, errors: Tensor) -> Tensor:
        rungs = errors.reshape(len(errors), len(self.ladder), -1)
        return self.sampler.diverged(rungs / errors.new_tensor(self.ladder)[:, None]).any(1)

    @property
    def advice(self) -> str:
        return f"in one of {len(self.ladder)} replicas, {self.sampler.advice}"


def _swap(replicas: Point, taken: Tensor) -> Point:
    """Replicas `(R N, ...)` with those neighbours exchanged that `taken` (R - 1, N) names; no two names share one."""
    n = taken.shape[1]
    none = taken.new_zeros(1, n)
    up, down = torch.cat([taken, none]).long(), torch.cat([none, taken]).long()
    rows = torch.arange(len(replicas.z), device=taken.device) + n * (up - down).flatten()
    return Point(*(part[rows] for part in replicas))
