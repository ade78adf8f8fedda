"""Limited-memory BFGS with a line search for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.curvature_pairs import Pairs, forget, no_pairs, quasi_newton, remember
from ebm.solvers.line_search import accepts, choose, first_length, may_hold, shorter
from ebm.solvers.solver import Point, Problem, Solver, State, check_positive


class Memory(NamedTuple):
    """The search of each sample, and what it knows of the curvature."""

    direction: Tensor  # (N, D)
    length: Tensor  # (N,) of the step to try next along the direction
    pairs: Pairs


@final
@dataclass(frozen=True)
class LBFGS(Solver):
    """Quasi-Newton steps from the last `history` gradients (Liu and Nocedal 1989), with backtracking.

    The direction is by the compact form (Byrd, Nocedal, Schnabel 1994, theorem 2.2), with its triangular matrix kept
    inverted: a handful of products for the whole batch, where the recursion over pairs takes a hundred.

    Each sample is in a search of its own: a step evaluates the whole batch once, and no sample waits for another.
    A step is taken where it lowers the energy (Armijo 1966) up to the rounding of that energy: a stricter test
    rejects every step close to a minimum in float32. A search that has come down to steps below `shortest` forgets its
    pairs and starts again down the slope. Under constraints the directions are those of the free face.
    """

    history: int = 10
    steps: int = 500
    tolerance: float = 1e-4
    patience: int = 25
    decrease: float = 1e-4
    shrink: float = 0.5
    shortest: float = 1e-3

    def __post_init__(self) -> None:
        check_positive(self, "history")

    def init(self, problem: Problem, point: Point) -> State:
        slope = problem.slope(point)
        return Memory(-slope, first_length(slope), no_pairs(slope, self.history))

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        memory = Memory(*state)
        trial, before = problem(torch.addcmul(point.z, memory.length[:, None], memory.direction)), point
        taken = accepts(problem, point, trial, self.decrease)
        # Of slopes, not gradients, so that under constraints it holds the curvature of their boundary too.
        change = problem.slope(trial) - problem.slope(point)
        pairs = remember(problem, memory.pairs, taken, trial, trial.z - point.z, change)
        point = choose(taken, trial, point)
        slope = problem.slope(point)
        direction = problem.free(point, quasi_newton(slope, pairs))
        uphill = _dot(direction, slope) >= 0
        informed = pairs.informed
        lost = ~taken & (memory.length < self.shortest) & informed
        steepest = uphill & taken | lost
        # Before there is a pair the first length is a guess, which may be out by any factor.
        share = torch.where(informed, self.shrink, shorter(before, trial, self.shrink))
        length = (memory.length * share).masked_fill(taken, 1)
        direction = torch.where(taken[:, None], direction, memory.direction)
        return point, Memory(
            direction=torch.where(steepest[:, None], -slope, direction),
            length=torch.where(steepest, first_length(slope), length),
            pairs=forget(pairs, lost) if may_hold(lost) else pairs,
        )


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
