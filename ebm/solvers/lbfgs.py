"""Limited-memory BFGS with a line search for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.solver import Evaluate, Point, Solver, State


class Memory(NamedTuple):
    """The search of each sample, and the last pairs of moves and changes of gradient, oldest first."""

    direction: Tensor  # (N, D)
    length: Tensor  # (N,) of the step to try next along the direction
    moves: Tensor  # (N, history, D)
    changes: Tensor  # (N, history, D)
    inverses: Tensor  # (N, history) of move . change; 0 where there is no pair yet


@final
@dataclass(frozen=True)
class LBFGS(Solver):
    """Quasi-Newton steps from the last `history` gradients (Nocedal and Wright 2006, alg. 7.4), with backtracking.

    Each sample is in a search of its own: a step evaluates the whole batch once, and no sample waits for another.
    A step is taken where it lowers the energy (Armijo 1966) up to the rounding of that energy: a stricter test
    rejects every step close to a minimum in float32.
    """

    history: int = 10
    steps: int = 500
    tolerance: float = 1e-4
    patience: int = 25
    decrease: float = 1e-4
    shrink: float = 0.5

    def init(self, point: Point) -> State:
        n, d = point.z.shape
        empty = point.z.new_zeros(n, self.history, d)
        return Memory(-point.gradient, _first_length(point.gradient), empty, empty, point.z.new_zeros(n, self.history))

    def step(self, evaluate: Evaluate, point: Point, state: State) -> tuple[Point, State]:
        memory = Memory(*state)
        trial = evaluate(point.z + memory.length[:, None] * memory.direction)
        taken = self._accepts(point, trial, memory)
        move, change = trial.z - point.z, trial.gradient - point.gradient
        memory = _remember(memory, taken, move, change)
        point = Point(*(torch.where(_like(taken, new), new, old) for new, old in zip(trial, point, strict=True)))
        direction = _quasi_newton(point.gradient, memory)
        uphill = _dot(direction, point.gradient) >= 0
        direction = torch.where(uphill[:, None], -point.gradient, direction)
        fresh = torch.where(uphill, _first_length(point.gradient), torch.ones_like(memory.length))
        return point, memory._replace(
            direction=torch.where(taken[:, None], direction, memory.direction),
            length=torch.where(taken, fresh, memory.length * self.shrink),
        )

    def _accepts(self, point: Point, trial: Point, memory: Memory) -> Tensor:
        slack = 10 * torch.finfo(point.energy.dtype).eps * point.energy.abs()
        slope = memory.length * _dot(memory.direction, point.gradient)
        lower = trial.energy <= point.energy + self.decrease * slope + slack
        return lower & trial.gradient.isfinite().all(-1)


def _remember(memory: Memory, taken: Tensor, move: Tensor, change: Tensor) -> Memory:
    curvature = _dot(move, change)
    noise = torch.finfo(move.dtype).eps * move.norm(dim=-1) * change.norm(dim=-1)
    keep = taken & (curvature > noise)  # else the approximate Hessian would not stay positive definite
    inverse = torch.where(keep, 1 / torch.where(keep, curvature, 1), 0)
    return memory._replace(
        moves=_push(memory.moves, move, keep),
        changes=_push(memory.changes, change, keep),
        inverses=_push(memory.inverses, inverse, keep),
    )


def _push(rows: Tensor, new: Tensor, keep: Tensor) -> Tensor:
    pushed = torch.cat([rows[:, 1:], new[:, None]], 1)
    return torch.where(_like(keep, rows), pushed, rows)


def _quasi_newton(gradient: Tensor, memory: Memory) -> Tensor:
    """`-H dE/dz` by the two-loop recursion; pairs that are not there yet have an inverse of 0 and change nothing."""
    q, weights = gradient, []
    for i in reversed(range(memory.moves.shape[1])):
        weights.append(memory.inverses[:, i] * _dot(memory.moves[:, i], q))
        q = q - weights[-1][:, None] * memory.changes[:, i]
    last = memory.changes[:, -1]
    scale = memory.inverses[:, -1] * last.square().sum(-1)
    q = torch.where(scale > 0, 1 / torch.where(scale > 0, scale, 1), 1)[:, None] * q
    for i in range(memory.moves.shape[1]):
        correction = weights.pop() - memory.inverses[:, i] * _dot(memory.changes[:, i], q)
        q = q + correction[:, None] * memory.moves[:, i]
    return -q


def _first_length(gradient: Tensor) -> Tensor:
    """No step down the raw gradient is longer than 1, whatever the scale of the energy."""
    return 1 / gradient.abs().sum(-1).clamp_min(1)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _like(mask: Tensor, values: Tensor) -> Tensor:
    return mask.reshape(mask.shape + (1,) * (values.ndim - 1))
