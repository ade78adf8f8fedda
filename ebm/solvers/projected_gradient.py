"""Projected gradient descent with a line search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.line_search import NOISE, choose, first_length
from ebm.solvers.solver import Point, Problem, Solver, State


class Memory(NamedTuple):
    """The step that each sample tries next."""

    length: Tensor  # (N,)


@final
@dataclass(frozen=True)
class ProjectedGradient(Solver):
    """`z <- P(z - t dE/dz)`, with `t` cut until the energy falls by `decrease |z' - z|^2 / t` (Bertsekas 1976).

    The gradient descent that needs no rate: after each step that is taken the next one may be `grow` times as long.
    With a penalty `P` is its prox (Parikh and Boyd 2014, section 4.2), without constraints nothing. Each sample has
    its own step, and a refused one is tried again shorter: a step is one evaluation.
    """

    proximal: ClassVar[bool] = True

    steps: int = 1000
    tolerance: float = 1e-4
    patience: int = 100
    decrease: float = 1e-4
    shrink: float = 0.3
    grow: float = 1.1

    def init(self, problem: Problem, point: Point) -> State:
        return Memory(first_length(problem.slope(point)))

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        (length,) = Memory(*state)
        column = length[:, None]
        trial = problem(point.z - column * point.gradient, column)
        taken = self._lowers(problem, point, trial, length)
        return choose(taken, trial, point), Memory(length * torch.where(taken, self.grow, self.shrink))

    def _lowers(self, problem: Problem, point: Point, trial: Point, length: Tensor) -> Tensor:
        """Where the energy falls far enough; between energies that rounding makes equal, told from their gradients."""
        move = trial.z - point.z
        fall = self.decrease * move.square().sum(-1) / length
        rise = trial.energy - point.energy
        rounding = problem.resolution * point.energy.abs()
        told = ((point.gradient + trial.gradient) * move).sum(-1) / 2
        if problem.domain is not None:
            told = told + problem.domain.cost(trial.z) - problem.domain.cost(point.z)
        level = (rise <= NOISE * rounding) & (told <= -fall)
        return ((rise <= rounding - fall) | level) & trial.gradient.isfinite().all(-1)
