"""Spectral gradient steps with a line search that lets the energy rise for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.line_search import NOISE, choose, first_length
from ebm.solvers.solver import Point, Problem, Solver, State


class Memory(NamedTuple):
    """The step that each sample tries next, and its last energies."""

    length: Tensor  # (N,)
    recent: Tensor  # (N, history)


@final
@dataclass(frozen=True)
class BarzilaiBorwein(Solver):
    """`z <- P(z - (s's / s'y) dE/dz)`, with the last move `s` and the change `y` of the slope along it.

    The step of Barzilai and Borwein 1988, one over the curvature just met, is quick because it does not insist on
    going down at once. It is kept in check by the largest of the last `history` energies (Grippo, Lampariello and
    Lucidi 1986), up to rounding; under constraints this is the spectral projected gradient of Birgin, Martinez and
    Raydan 2000. A refused step is tried again shorter, each sample by itself: a step is one evaluation.
    """

    history: int = 10
    steps: int = 1000
    tolerance: float = 1e-4
    patience: int = 100
    decrease: float = 1e-4
    shrink: float = 0.5

    def init(self, problem: Problem, point: Point) -> State:
        recent = point.energy[:, None].expand(-1, self.history)
        return Memory(first_length(problem.slope(point)), recent)

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        length, recent = Memory(*state)
        slope = problem.slope(point)
        trial = problem(point.z - length[:, None] * slope)
        promised = (slope * (trial.z - point.z)).sum(-1)
        ceiling = recent.amax(-1)
        slack = NOISE * problem.resolution * ceiling.abs()
        taken = trial.energy <= ceiling + self.decrease * promised + slack
        taken = taken & trial.gradient.isfinite().all(-1)
        after = choose(taken, trial, point)
        spectral = _spectral(problem, after, after.z - point.z, problem.slope(after) - slope, length)
        later = torch.cat([recent[:, 1:], after.energy[:, None]], 1)
        return after, Memory(
            length=torch.where(taken, spectral, length * self.shrink),
            recent=torch.where(taken[:, None], later, recent),
        )


def _spectral(problem: Problem, point: Point, move: Tensor, change: Tensor, length: Tensor) -> Tensor:
    """`s's / s'y` along the free face; where the curvature is not positive, ten times the last length."""
    move, change = problem.free(point, move), problem.free(point, change)
    square, curvature = (move * move).sum(-1), (move * change).sum(-1)
    noise = torch.finfo(move.dtype).eps * (square * (change * change).sum(-1)).sqrt()
    positive = curvature > noise
    return torch.where(positive, square / torch.where(positive, curvature, 1), 10 * length)
