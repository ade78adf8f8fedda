"""The one loop around every solver: each sample stops by itself, and what has ended costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache, partial
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ebm.problem import Point, Problem
from ebm.solvers.line_search import NOISE, choose, finite
from ebm.solvers.solver import Solver, State


class Status(IntEnum):
    """How a sample's solve ended."""

    RUNNING = 0
    CONVERGED = 1
    OUT_OF_STEPS = 2
    STALLED = 3
    NOT_FINITE = 4

    @property
    def advice(self) -> str:
        """What it means, and what to do about it."""
        return _ADVICE[self]


_ADVICE = {
    Status.RUNNING: "the solve has not ended",
    Status.CONVERGED: "no component of the gradient is larger than the tolerance (or a search that takes none has"
    " narrowed to it)",
    Status.OUT_OF_STEPS: "still going down: raise `steps`, or take a faster solver such as LBFGS",
    Status.STALLED: "no step lowers the energy any more: the tolerance is below what this dtype resolves (use float64"
    " or raise `tolerance`), the rate is too high, or the energy has a kink",
    Status.NOT_FINITE: "the energy or its gradient became NaN or infinite: lower the rate, start elsewhere, or keep `z`"
    " where the energy is defined",
}


class Progress(NamedTuple):
    """All that the loop knows of each sample, the batch as leading axis of everything."""

    point: Point
    residual: Tensor
    best: Point
    best_residual: Tensor
    mark: Tensor
    """The residual when there was progress last."""
    idle: Tensor
    steps: Tensor
    status: Tensor
    state: State


class Outcome(NamedTuple):
    """What is to be known of each sample when it has ended."""

    point: Point
    residual: Tensor
    best: Point
    best_residual: Tensor
    status: Tensor
    steps: Tensor
    evaluations: Tensor


class Ended(NamedTuple):
    """How the solves of N rows ended: the points, a status, and what each cost."""

    point: Point
    residual: Tensor
    status: Tensor
    steps: Tensor
    evaluations: Tensor
    trace: list[tuple[Tensor, Tensor, Tensor]]
    """For each step the iterates (N, D), energies (N,) and residuals (N,), when asked for."""


@dataclass(frozen=True)
class Loop:
    """How `solve` runs: whether it keeps a trace, compiles a step, or keeps none of what a step computed."""

    trace: bool = False
    compile: bool = False
    checkpoint: bool = False
    share: float = 0.5
    """The active samples are gathered when no more than this share of those computed is still going."""


Step = Callable[[Problem, Solver, Progress, bool], Progress]


def solve(problem: Problem, z: Tensor, solver: Solver, loop: Loop) -> Ended:
    """Take steps from the rows `z` (N, D) until each has ended."""
    if torch.is_grad_enabled():
        problem = replace(problem, anchor=z.detach())
    progress = _begin(problem, z, solver)
    whole, rows = None, None
    gathers = problem.given is not None and not loop.compile and not torch.is_grad_enabled()
    # Asking whether all have ended waits for the device, so an accelerator is asked only now and then.
    interval = 1 if z.device.type == "cpu" else 16
    step, rests = _stepper(loop, solver), loop.trace or torch.is_grad_enabled()
    trace = [_seen(_outcome(progress, solver))] if loop.trace else []
    for count in range(1 if solver.at_once else solver.steps):
        if count % interval == 0:
            running = progress.status == int(Status.RUNNING)
            active = int(running.sum())
            if active == 0:
                break
            if gathers and active <= loop.share * len(running):
                whole = _filled(whole, rows, _outcome(progress, solver))
                kept = running.nonzero()[:, 0]
                rows = kept if rows is None else rows[kept]
                progress, problem = _tree(partial(_rows, kept), progress), problem.subset(kept)
        progress = step(problem, solver, progress, rests)
        if loop.trace:
            trace.append(_seen(_scatter(whole, rows, _outcome(progress, solver))))
    return _end(_scatter(whole, rows, _outcome(progress, solver)), solver, trace)


def _stepper(loop: Loop, solver: Solver) -> Step:
    if loop.compile:
        return _compiled(type(solver))
    if loop.checkpoint:
        return lambda *parts: checkpoint(advance, *parts, use_reentrant=False)
    return advance


@cache
def _compiled(kind: type[Solver]) -> Step:
    # What is compiled is kept by code object, with no guard on the class of a named tuple: each solver has its own.
    code = advance.__code__.replace(co_name=f"advance_{kind.__name__}")
    return torch.compile(FunctionType(code, advance.__globals__), dynamic=False)


def advance(problem: Problem, solver: Solver, was: Progress, rests: bool) -> Progress:
    """One step of every sample that is still going; of those that have ended the best point stays as it is.

    Their other point too if it `rests`: to be shown, or because derivatives of steps beyond the end may be NaN.
    """
    running = was.status == int(Status.RUNNING)
    point, state = solver.step(problem, was.point, was.state)
    residual = torch.where(running, solver.residual(problem, point, state), was.residual)
    point = choose(running, point, was.point) if rests else point
    better, progress = _improves(problem, point, residual, was)
    idle = (was.idle + 1).masked_fill(progress, 0)
    status = torch.where(running, _status(point, residual, idle, solver), was.status)
    # The point at which a sample converges is its answer, whatever was met on the way.
    better = (better | (status == int(Status.CONVERGED))) & running
    return Progress(
        point=point,
        residual=residual,
        best=choose(better, point, was.best),
        best_residual=torch.where(better, residual, was.best_residual),
        mark=torch.where(progress, residual, was.mark),
        idle=idle,
        steps=was.steps + running,
        status=status,
        state=state,
    )


def _begin(problem: Problem, z: Tensor, solver: Solver) -> Progress:
    point = solver.start(problem, z)
    state = solver.init(problem, point)
    residual = solver.residual(problem, point, state)
    zeros = torch.zeros(len(z), dtype=torch.long, device=z.device)
    status = _status(point, residual, zeros, solver)
    return Progress(point, residual, point, residual, residual, zeros, zeros, status, state)


def _end(whole: Outcome, solver: Solver, trace: list[tuple[Tensor, Tensor, Tensor]]) -> Ended:
    unfinished = torch.where(whole.steps >= solver.steps, int(Status.OUT_OF_STEPS), int(Status.STALLED))
    status = torch.where(whole.status == int(Status.RUNNING), unfinished, whole.status)
    return Ended(whole.best, whole.best_residual, status, whole.steps, whole.evaluations, trace)


def _outcome(progress: Progress, solver: Solver) -> Outcome:
    steps, state = progress.steps, progress.state
    return Outcome(
        *(progress.point, progress.residual, progress.best, progress.best_residual, progress.status),
        steps=solver.taken(steps, state),
        evaluations=solver.evaluations(steps, state, progress.point.z.shape[1]),
    )


def _status(point: Point, residual: Tensor, idle: Tensor, solver: Solver) -> Tensor:
    usable = (point.energy - point.energy == 0) & finite(point.gradient)
    status = (idle >= solver.patience) * int(Status.STALLED)
    return status.masked_fill(residual <= solver.tolerance, Status.CONVERGED).masked_fill(~usable, Status.NOT_FINITE)


def _improves(problem: Problem, point: Point, residual: Tensor, was: Progress) -> tuple[Tensor, Tensor]:
    """Whether a point is better than the best so far, and whether by more than rounding could make it."""
    noise = NOISE * problem.resolution * was.best.energy.abs()
    lower = point.energy < was.best.energy - noise
    level = point.energy <= was.best.energy + noise
    flatter = level & (residual < was.best_residual)
    progress = lower | (level & (residual < 0.9 * was.mark))
    return lower | flatter, progress


def _seen(outcome: Outcome) -> tuple[Tensor, Tensor, Tensor]:
    return outcome.point.z, outcome.point.energy, outcome.residual


def _rows(rows: Tensor, whole: Tensor) -> Tensor:
    return whole[rows]


def _filled(whole: Outcome | None, rows: Tensor | None, part: Outcome) -> Outcome:
    """`_scatter` into the outcome itself, once it is a copy of which nothing else knows."""
    if whole is None or rows is None:
        return _tree(Tensor.clone, part)
    return _tree(lambda all_, some: all_.index_copy_(0, rows, some), whole, part)


def _scatter(whole: Outcome | None, rows: Tensor | None, part: Outcome) -> Outcome:
    """The outcome of all, with that of some rows written into it."""
    return (
        part if whole is None or rows is None else _tree(lambda all_, some: all_.index_copy(0, rows, some), whole, part)
    )


def _tree(fn: Callable[..., Tensor], *trees: Any) -> Any:
    """`fn` of the tensors of named tuples, whose class is kept."""
    if isinstance(trees[0], Tensor):
        return fn(*trees)
    parts = [_tree(fn, *part) for part in zip(*trees, strict=True)]
    return type(trees[0])(*parts) if hasattr(trees[0], "_fields") else tuple(parts)
