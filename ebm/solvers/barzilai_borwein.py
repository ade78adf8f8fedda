"""Spectral gradient steps with a line search that lets the energy rise for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.line_search import NOISE, choose, finite, first_length, may_hold
from ebm.solvers.solver import Point, Problem, Solver, State


class Memory(NamedTuple):
    """The step that each sample tries next, its last energies, and which of two steps comes after that."""

    length: Tensor  # (N,)
    recent: Tensor  # (N, history)
    short: Tensor  # (N,) whether the step after the next one is the shorter of the two


@final
@dataclass(frozen=True)
class BarzilaiBorwein(Solver):
    """`z <- prox(z - t dE/dz)`, `t` in turns `s's / s'y` and `s'y / y'y`: the last move and change of slope along it.

    The steps of Barzilai and Borwein 1988 are one over the curvature just met, and quick because they do not insist on
    going down at once; taken in turns (Dai and Fletcher 2005) they are up to three times as quick as the first alone.
    They are kept in check by the largest of the last `history` energies (Grippo, Lampariello and Lucidi 1986), up to
    rounding. Under constraints this is the spectral projected gradient of Birgin, Martinez and Raydan 2000, under
    penalties SpaRSA (Wright, Nowak and Figueiredo 2009). A refused step is tried again shorter, each sample by itself:
    a step is one evaluation.
    """

    proximal: ClassVar[bool] = True

    history: int = 10
    steps: int = 1000
    tolerance: float = 1e-4
    patience: int = 100
    decrease: float = 1e-4
    shrink: float = 0.5

    def init(self, problem: Problem, point: Point) -> State:
        recent = point.energy[:, None].expand(-1, self.history)
        return Memory(first_length(problem.slope(point)), recent, torch.zeros_like(point.energy, dtype=torch.bool))

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        length, recent, short = Memory(*state)
        slope, column = problem.smooth_slope(point), length[:, None]
        trial = problem(torch.addcmul(point.z, column, slope, value=-1), column)
        move = trial.z - point.z
        square = torch.linalg.vecdot(move, move)
        ceiling = recent.amax(-1)
        bound = ceiling + NOISE * problem.resolution * ceiling.abs()
        taken = (trial.energy <= bound - self.decrease / length * square) & finite(trial.gradient)
        later = torch.cat([recent[:, 1:], trial.energy[:, None]], 1)
        if not may_hold(~taken):
            change = problem.smooth_slope(trial) - slope
            return trial, Memory(spectral_length(problem, trial, move, change, length, short), later, ~short)
        after = choose(taken, trial, point)
        move, change = after.z - point.z, problem.smooth_slope(after) - slope
        spectral = spectral_length(problem, after, move, change, length, short)
        return after, Memory(
            length=torch.where(taken, spectral, length * self.shrink),
            recent=torch.where(taken[:, None], later, recent),
            short=short ^ taken,
        )


def spectral_length(
    problem: Problem, point: Point, move: Tensor, change: Tensor, length: Tensor, short: Tensor
) -> Tensor:
    """`s's / s'y`, or the shorter `s'y / y'y`; where the curvature is not positive, ten times the last length.

    Along the free face of the constraints; the kinks of penalties are left to their prox. A constant to
    derivatives through the steps, which are exact at a minimum all the same.
    """
    if problem.domain is not None and problem.domain.constrained:
        move, change = problem.free(point, move), problem.free(point, change)
    square, curvature, bend = (torch.linalg.vecdot(*pair) for pair in ((move, move), (move, change), (change, change)))
    positive = curvature > torch.finfo(move.dtype).eps * (square * bend).sqrt()
    above, below = torch.where(short, curvature, square), torch.where(short, bend, curvature)
    return torch.where(positive, above / torch.where(positive, below, 1), 10 * length).detach()
