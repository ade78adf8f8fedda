"""Limited-memory BFGS with a line search for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.line_search import accepts, choose, first_length
from ebm.solvers.solver import Point, Problem, Solver, State


class Memory(NamedTuple):
    """The search of each sample, and its last pairs of moves and changes of gradient, each pair in a slot."""

    direction: Tensor  # (N, D)
    length: Tensor  # (N,) of the step to try next along the direction
    oldest: Tensor  # (N,) the slot to write next
    scale: Tensor  # (N,) of the last pair: s'y / y'y
    moves: Tensor  # (N, history, D), s
    changes: Tensor  # (N, history, D), y
    curvatures: Tensor  # (N, history), s'y; 0 in a slot with no pair yet
    inverse: Tensor  # (N, history, history), of the matrix s_i'y_j for i no younger than j


@final
@dataclass(frozen=True)
class LBFGS(Solver):
    """Quasi-Newton steps from the last `history` gradients (Liu and Nocedal 1989), with backtracking.

    The direction is by the compact form (Byrd, Nocedal, Schnabel 1994, theorem 2.2), with its triangular matrix kept
    inverted: a handful of products for the whole batch, where the recursion over pairs takes a hundred.

    Each sample is in a search of its own: a step evaluates the whole batch once, and no sample waits for another.
    A step is taken where it lowers the energy (Armijo 1966) up to the rounding of that energy: a stricter test
    rejects every step close to a minimum in float32. Under constraints the directions are those of the free face.
    """

    history: int = 10
    steps: int = 500
    tolerance: float = 1e-4
    patience: int = 25
    decrease: float = 1e-4
    shrink: float = 0.5

    def init(self, problem: Problem, point: Point) -> State:
        n, d = point.z.shape
        slope = problem.slope(point)
        return Memory(
            direction=-slope,
            length=first_length(slope),
            oldest=torch.zeros(n, dtype=torch.long, device=slope.device),
            scale=slope.new_ones(n),
            moves=slope.new_zeros(n, self.history, d),
            changes=slope.new_zeros(n, self.history, d),
            curvatures=slope.new_zeros(n, self.history),
            inverse=slope.new_zeros(n, self.history, self.history),
        )

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        memory = Memory(*state)
        trial = problem(torch.addcmul(point.z, memory.length[:, None], memory.direction))
        taken = accepts(problem, point, trial, self.decrease)
        memory = _remember(problem, memory, taken, point, trial)
        point = choose(taken, trial, point)
        slope = problem.slope(point)
        direction = problem.follow(point, quasi_newton(slope, memory))
        uphill = _dot(direction, slope) >= 0
        direction = torch.where(uphill[:, None], -slope, direction)
        fresh = torch.where(uphill, first_length(slope), 1)
        return point, memory._replace(
            direction=torch.where(taken[:, None], direction, memory.direction),
            length=torch.where(taken, fresh, memory.length * self.shrink),
        )


def _remember(problem: Problem, memory: Memory, taken: Tensor, point: Point, trial: Point) -> Memory:
    """Write the last pair over the oldest where a step was taken along positive curvature."""
    move, change = trial.z - point.z, trial.gradient - point.gradient
    if problem.domain is not None:
        move, change = problem.free(trial, move), problem.free(trial, change)
    curvature, bend = _dot(move, change), _dot(change, change)
    noise = torch.finfo(move.dtype).eps * (_dot(move, move) * bend).sqrt()
    keep = taken & (curvature > noise)  # else the approximate Hessian would not stay positive definite
    curvature, bend = torch.where(keep, curvature, 1), torch.where(keep, bend, 1)
    history = memory.moves.shape[1]
    slots = torch.arange(history, device=move.device)
    slot = (slots == memory.oldest[:, None]) & keep[:, None]
    moves = torch.where(slot[..., None], move[:, None], memory.moves)
    changes = torch.where(slot[..., None], change[:, None], memory.changes)
    # Striking out the oldest row and column of a triangular matrix strikes them out of its inverse; the newest column
    # [R, c; 0, r] of it has the inverse [R^-1, -R^-1 c / r; 0, 1 / r].
    inverse = torch.where(slot[..., None] | slot[:, None], 0, memory.inverse)
    column = -(inverse @ (moves @ change[..., None]))[..., 0]
    column = torch.where(slot, 1, column) / curvature[:, None]
    return memory._replace(
        oldest=torch.where(keep, (memory.oldest + 1) % history, memory.oldest),
        scale=torch.where(keep, curvature / bend, memory.scale),
        moves=moves,
        changes=changes,
        curvatures=torch.where(slot, curvature[:, None], memory.curvatures),
        inverse=torch.where(slot[:, None], column[..., None], inverse),
    )


def quasi_newton(slope: Tensor, memory: Memory) -> Tensor:
    """`-H slope` for the inverse Hessian `H` of the pairs; empty slots are zero and change nothing."""
    weights = memory.inverse @ (memory.moves @ slope[..., None])
    q = torch.baddbmm(slope[..., None], memory.changes.mT, weights, alpha=-1) * memory.scale[:, None, None]
    corrections = memory.inverse.mT @ (memory.curvatures[..., None] * weights - memory.changes @ q)
    return -torch.baddbmm(q, memory.moves.mT, corrections)[..., 0]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
