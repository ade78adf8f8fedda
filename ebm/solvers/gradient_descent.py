"""Gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from ebm.solvers.solver import Point, Problem, Solver, State, check_positive


@final
@dataclass(frozen=True)
class GradientDescent(Solver):
    """`v <- momentum v + dE/dz`, `z <- z - rate v` (Polyak 1964: the heavy ball).

    With `nesterov` the step is `rate (dE/dz + momentum v)` (Nesterov 1983, in the form of Sutskever et al. 2013).
    """

    rate: float = 0.1
    momentum: float = 0.0
    nesterov: bool = False
    steps: int = 1000
    tolerance: float = 1e-4
    patience: int = 100

    def __post_init__(self) -> None:
        check_positive(self, "rate")

    def init(self, problem: Problem, point: Point) -> State:
        return (torch.zeros_like(point.z),)

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        (velocity,) = state
        # The whole gradient under constraints too: projecting where it leads is stable at any curvature of a boundary.
        velocity = self.momentum * velocity + point.gradient
        move = point.gradient + self.momentum * velocity if self.nesterov else velocity
        return problem(point.z - self.rate * move), (velocity,)
