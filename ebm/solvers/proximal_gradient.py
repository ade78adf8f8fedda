"""Proximal gradient: for penalties with a kink, and for constraints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.curvature import largest_curvature
from ebm.solvers.line_search import choose, may_hold
from ebm.solvers.solver import Point, Problem, Solver, State, check_positive


class Memory(NamedTuple):
    """The last proximal point of each sample, the weight of its momentum, and its step."""

    z: Tensor  # (N, D)
    momentum: Tensor  # (N, 1), t of FISTA
    step: Tensor  # (N, 1)


@final
@dataclass(frozen=True)
class ProximalGradient(Solver):
    """`z <- prox(y - step dE/dy)`, `y` ahead of z by its momentum: FISTA (Beck and Teboulle 2009, section 4).

    The momentum starts again where it leads uphill, for each sample (O'Donoghue and Candes 2015, the gradient scheme);
    `accelerated=False` is ISTA, which has none. A sample's step is `rate`, or unless given one over the largest
    curvature at the start, by power iteration; it halves where the curvature met on the way is larger. No line
    search: a step is one evaluation, at `y`.
    """

    proximal: ClassVar[bool] = True

    rate: float | None = None
    accelerated: bool = True
    steps: int = 1000
    tolerance: float = 1e-4
    patience: int = 100
    power_iterations: int = 10

    def __post_init__(self) -> None:
        check_positive(self, "power_iterations", *([] if self.rate is None else ["rate"]))

    def init(self, problem: Problem, point: Point) -> State:
        one = torch.ones_like(point.z[:, :1])
        if self.rate is not None:
            return Memory(point.z, one, self.rate * one)
        return Memory(point.z, one, 1 / largest_curvature(problem, point.z, self.power_iterations)[:, None])

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        memory = Memory(*state)
        z = _prox(problem, point, memory.step)
        move = z - memory.z
        uphill = ((point.z - z) * move).sum(-1, keepdim=True) > 0
        momentum = torch.where(uphill, 1, memory.momentum)
        after = (1 + (1 + 4 * momentum.square()).sqrt()) / 2 if self.accelerated else momentum
        trial = problem(torch.addcmul(z, (momentum - 1) / after, move))
        steep = _steep(point, trial, memory.step)
        if not may_hold(steep):
            return trial, Memory(z, after, memory.step)
        # After too long a step: from the same point again, without momentum and half as far.
        column = steep[:, None]
        return choose(~steep, trial, point), Memory(
            z=torch.where(column, memory.z, z),
            momentum=after.masked_fill(column, 1),
            step=torch.where(column, memory.step / 2, memory.step),
        )

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        return steps + 1 + (self.power_iterations if self.rate is None else 0)


def _prox(problem: Problem, point: Point, step: Tensor) -> Tensor:
    z = torch.addcmul(point.z, step, point.gradient, value=-1)
    return z if problem.domain is None else problem.domain.prox(z, step)


def _steep(point: Point, trial: Point, step: Tensor) -> Tensor:
    """Where the curvature along the way was more than such a step can take, up to rounding; or was not a number."""
    move = trial.z - point.z
    length = torch.linalg.vector_norm(move, dim=-1)
    bend = ((trial.gradient - point.gradient) * move).sum(-1)
    rounding = 10 * torch.finfo(move.dtype).eps * torch.linalg.vector_norm(point.gradient, dim=-1)
    return ~(bend <= length * (1.01 * length / step[:, 0] + rounding))
