"""BFGS with the whole inverse Hessian of each sample, and a line search for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.line_search import accepts, choose, first_length, may_hold, shorter
from ebm.solvers.solver import Point, Problem, Solver, State


class Memory(NamedTuple):
    """The search of each sample, and what it knows of its curvature."""

    direction: Tensor  # (N, D)
    length: Tensor  # (N,) of the step to try next along the direction
    inverse: Tensor  # (N, D, D), H
    fresh: Tensor  # (N,) whether H has seen no pair yet


@final
@dataclass(frozen=True)
class BFGS(Solver):
    """Quasi-Newton steps `-H dE/dz`, with `H` the inverse Hessian (Broyden, Fletcher, Goldfarb and Shanno 1970).

    Before each update `H` is scaled by `s'y / y'Hy` (Oren and Luenberger 1974), after the first pair only up (as in
    Al-Baali 1998): directions with curvatures not yet met are not taken for steep. The rest is as in `LBFGS`: a search
    for each sample, whose steps are one evaluation and lower the energy (Armijo 1966) up to its rounding, along the
    free face of the constraints. The memory is `(N, D, D)`.
    """

    steps: int = 500
    tolerance: float = 1e-4
    patience: int = 25
    decrease: float = 1e-4
    shrink: float = 0.5
    shortest: float = 1e-3

    def init(self, problem: Problem, point: Point) -> State:
        slope = problem.slope(point)
        n, d = slope.shape
        identity = torch.eye(d, dtype=slope.dtype, device=slope.device).expand(n, d, d)
        return Memory(-slope, first_length(slope), identity, torch.ones(n, dtype=torch.bool, device=slope.device))

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        memory = Memory(*state)
        trial = problem(torch.addcmul(point.z, memory.length[:, None], memory.direction))
        taken = accepts(problem, point, trial, self.decrease)
        after = choose(taken, trial, point)
        slope = problem.slope(after)
        memory = _learn(problem, memory, after, after.z - point.z, slope - problem.slope(point))
        direction = problem.free(after, -(memory.inverse @ slope[..., None])[..., 0])
        uphill = _dot(direction, slope) >= 0
        lost = ~taken & (memory.length < self.shortest) & ~memory.fresh
        steepest = (uphill & taken) | lost
        # Before there is a pair the first length is a guess, which may be out by any factor.
        share = torch.where(memory.fresh, shorter(point, trial, self.shrink), self.shrink)
        length = (memory.length * share).masked_fill(taken, 1)
        direction = torch.where(taken[:, None], direction, memory.direction)
        memory = _forget(memory, lost) if may_hold(lost) else memory
        return after, memory._replace(
            direction=torch.where(steepest[:, None], -slope, direction),
            length=torch.where(steepest, first_length(slope), length),
        )


def _learn(problem: Problem, memory: Memory, point: Point, move: Tensor, change: Tensor) -> Memory:
    """`H <- (1 - s y'/s'y) H (1 - y s'/s'y) + s s'/s'y` where the curvature `s'y` is positive."""
    move, change = problem.free(point, move), problem.free(point, change)
    curvature = _dot(move, change)
    noise = torch.finfo(move.dtype).eps * (_dot(move, move) * _dot(change, change)).sqrt()
    keep = curvature > noise  # else the approximate Hessian would not stay positive definite
    curvature = torch.where(keep, curvature, 1)
    carried = (memory.inverse @ change[..., None])[..., 0]
    growth = curvature / torch.where(keep, _dot(change, carried), 1)
    growth = torch.where(memory.fresh, growth, growth.clamp_min(1))[:, None]
    inverse, carried = growth[..., None] * memory.inverse, growth * carried
    # The same written out: H + s a' + a s' with a = (1 + y'Hy / s'y) s / 2 s'y - Hy / s'y.
    share = (1 + _dot(change, carried) / curvature) / 2
    aside = (share[:, None] * move - carried) / curvature[:, None]
    outer = move[..., None] * aside[:, None]
    return memory._replace(
        inverse=torch.where(keep[:, None, None], inverse + outer + outer.mT, memory.inverse),
        fresh=memory.fresh & ~keep,
    )


def _forget(memory: Memory, lost: Tensor) -> Memory:
    """With no pair seen, for samples whose directions lead nowhere."""
    identity = torch.eye(memory.inverse.shape[-1], dtype=memory.inverse.dtype, device=lost.device)
    inverse = torch.where(lost[:, None, None], identity, memory.inverse)
    return memory._replace(inverse=inverse, fresh=memory.fresh | lost)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)
