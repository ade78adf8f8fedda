"""Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from ebm.solvers.solver import Evaluate, Point, Solver, State


@final
@dataclass(frozen=True)
class Adam(Solver):
    """Gradient descent with a rate for each coordinate from its moments (Kingma and Ba 2015, algorithm 1)."""

    rate: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    steps: int = 1000
    tolerance: float = 1e-4
    patience: int = 100

    def init(self, point: Point) -> State:
        return torch.zeros_like(point.z), torch.zeros_like(point.z), point.energy.new_zeros(len(point.z), 1)

    def step(self, evaluate: Evaluate, point: Point, state: State) -> tuple[Point, State]:
        mean, square, count = state
        count = count + 1
        mean = self.beta1 * mean + (1 - self.beta1) * point.gradient
        square = self.beta2 * square + (1 - self.beta2) * point.gradient.square()
        unbiased = mean / (1 - self.beta1**count)
        # At zero the root has an infinite slope, which unrolling through a first step would meet.
        scale = (square / (1 - self.beta2**count)).clamp_min(torch.finfo(square.dtype).tiny).sqrt()
        return evaluate(point.z - self.rate * unbiased / (scale + self.epsilon)), (mean, square, count)
