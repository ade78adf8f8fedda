"""Adam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch

from ebm.solvers.solver import Point, Problem, Solver, State, check_positive


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

    def __post_init__(self) -> None:
        check_positive(self, "rate", "epsilon")

    def init(self, problem: Problem, point: Point) -> State:
        return torch.zeros_like(point.z), torch.zeros_like(point.z), point.energy.new_zeros(len(point.z), 1)

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        mean, square, count = state
        count, slope = count + 1, problem.slope(point)
        mean = self.beta1 * mean + (1 - self.beta1) * slope
        square = self.beta2 * square + (1 - self.beta2) * slope.square()
        unbiased = mean / (1 - self.beta1**count)
        # At zero the root has an infinite slope, which unrolling through a first step would meet.
        scale = (square / (1 - self.beta2**count)).clamp_min(torch.finfo(square.dtype).tiny).sqrt()
        return problem(point.z - self.rate * unbiased / (scale + self.epsilon)), (mean, square, count)
