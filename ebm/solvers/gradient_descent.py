"""Gradient descent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from ebm.solvers.solver import Evaluate, Point, Solver, State


@final
@dataclass(frozen=True)
class GradientDescent(Solver):
    """`v <- momentum v + dE/dz`, `z <- z - rate v` (Polyak 1964: the heavy ball)."""

    rate: float = 0.1
    momentum: float = 0.0
    steps: int = 1000
    tolerance: float = 1e-4
    patience: int = 100

    def init(self, point: Point) -> State:
        return (torch.zeros_like(point.z),)

    def step(self, evaluate: Evaluate, point: Point, state: State) -> tuple[Point, State]:
        (velocity,) = state
        velocity = self.momentum * velocity + point.gradient
        return evaluate(point.z - self.rate * velocity), (velocity,)
