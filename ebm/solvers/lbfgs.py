"""Limited-memory BFGS with a line search for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.line_search import accepts, choose, first_length, may_hold, shorter
from ebm.solvers.solver import Point, Problem, Solver, State, check_positive


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
        memory, before = _remember(problem, memory, taken, point, trial), point
        point = choose(taken, trial, point)
        slope = problem.slope(point)
        direction = problem.free(point, quasi_newton(slope, memory))
        uphill = _dot(direction, slope) >= 0
        informed = memory.curvatures.any(-1)
        lost = ~taken & (memory.length < self.shortest) & informed
        steepest = uphill & taken | lost
        # Before there is a pair the first length is a guess, which may be out by any factor.
        share = torch.where(informed, self.shrink, shorter(before, trial, self.shrink))
        length = (memory.length * share).masked_fill(taken, 1)
        direction = torch.where(taken[:, None], direction, memory.direction)
        memory = _forget(memory, lost) if may_hold(lost) else memory
        return point, memory._replace(
            direction=torch.where(steepest[:, None], -slope, direction),
            length=torch.where(steepest, first_length(slope), length),
        )


def _remember(problem: Problem, memory: Memory, taken: Tensor, point: Point, trial: Point) -> Memory:
    """Write the last pair over the oldest where a step was taken along positive curvature."""
    # Of slopes, not gradients, so that under constraints it holds the curvature of their boundary too.
    move, change = trial.z - point.z, problem.slope(trial) - problem.slope(point)
    if problem.domain is not None:
        move, change = problem.free(trial, move), problem.free(trial, change)
    curvature, bend = _dot(move, change), _dot(change, change)
    noise = torch.finfo(move.dtype).eps * (_dot(move, move) * bend).sqrt()
    keep = taken & (curvature > noise)  # else the approximate Hessian would not stay positive definite
    curvature, bend = curvature.masked_fill(~keep, 1), bend.masked_fill(~keep, 1)
    slots = torch.arange(memory.moves.shape[1], device=move.device)
    slot = (slots == memory.oldest[:, None]) & keep[:, None]
    moves, changes = _write(memory, slot, memory.moves, move), _write(memory, slot, memory.changes, change)
    # Striking out the oldest row and column of a triangular matrix strikes them out of its inverse; the newest column
    # [R, c; 0, r] of it has the inverse [R^-1, -R^-1 c / r; 0, 1 / r].
    others = (moves @ change[..., None]).masked_fill(slot[..., None], 0)
    column = (-(memory.inverse @ others)[..., 0]).masked_fill(slot, 1) / curvature[:, None]
    inverse = _write(memory, slot, memory.inverse, torch.zeros_like(column))
    return memory._replace(
        oldest=(memory.oldest + keep) % len(slots),
        scale=torch.where(keep, curvature / bend, memory.scale),
        moves=moves,
        changes=changes,
        curvatures=torch.where(slot, curvature[:, None], memory.curvatures),
        inverse=_write(memory, slot, inverse.mT, column).mT,
    )


def _write(memory: Memory, slot: Tensor, pairs: Tensor, new: Tensor) -> Tensor:
    """`pairs` (N, history, D) with the new one (N, D) in its slot, a mask (N, history) that may be empty.

    In place unless recorded, as nothing else holds the memory of a solve: it is most of what a step would copy.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return torch.where(slot[..., None], new[:, None], pairs)
    place = (torch.arange(len(pairs), device=pairs.device), memory.oldest)
    return pairs.index_put_(place, torch.where(slot.any(-1, keepdim=True), new, pairs[place]))


def _forget(memory: Memory, lost: Tensor) -> Memory:
    """Without the pairs of samples whose directions lead nowhere: with no inverse they count for nothing."""
    return memory._replace(
        scale=memory.scale.masked_fill(lost, 1),
        curvatures=memory.curvatures.masked_fill(lost[:, None], 0),
        inverse=memory.inverse * ~lost[:, None, None],
    )


def quasi_newton(slope: Tensor, memory: Memory) -> Tensor:
    """`-H slope` for the inverse Hessian `H` of the pairs; empty slots are zero and change nothing."""
    weights = memory.inverse @ (memory.moves @ slope[..., None])
    q = torch.baddbmm(slope[..., None], memory.changes.mT, weights, alpha=-1) * memory.scale[:, None, None]
    corrections = memory.inverse.mT @ (memory.curvatures[..., None] * weights - memory.changes @ q)
    return -torch.baddbmm(q, memory.moves.mT, corrections)[..., 0]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
