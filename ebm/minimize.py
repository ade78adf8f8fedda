"""Minimise an energy over a latent: one call for every solver, and an answer that says how each sample fared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from ebm.adjoint import Adjoint, Detached
from ebm.constraints import Constraint
from ebm.domain import Domain
from ebm.layout import Layout, Tree, batch_of, check_given, check_start, given_rows, have_rows
from ebm.penalties import Penalty
from ebm.problem import Problem, bound
from ebm.solve import Ended, Loop, Status
from ebm.solvers.bfgs import BFGS
from ebm.solvers.lbfgs import LBFGS
from ebm.solvers.proximal_lbfgs import ProximalLBFGS
from ebm.solvers.solver import Solver

DENSE = 16
"""Features up to which an inverse Hessian is cheaper to keep than pairs of vectors are to go through."""

EnergyFunction = Callable[..., Tensor]  # (z, *given) -> (*batch,); z a tree of (*batch, ...)


@dataclass(frozen=True)
class Restarts:
    """Several starts for each sample: the given one, and others that are `spread` times standard normal away from it.

    All samples get the same draws, from `seed`, so that the answer of one does not depend on the others.
    """

    count: int
    spread: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count < 1 or not self.spread > 0:
            raise ValueError(f"restarts are at least 1, with a positive spread, not {self}")

    def draw(self, start: Tensor) -> Tensor:
        """The starts `(count * N, D)` of N samples, the given ones first."""
        generator = torch.Generator().manual_seed(self.seed)
        noise = torch.randn(self.count - 1, 1, start.shape[1], generator=generator, dtype=torch.float64)
        others = start + self.spread * noise.to(start)
        return torch.cat([start[None], others]).flatten(0, 1)


@dataclass(frozen=True)
class Trace:
    """The way of each sample, the start first; a sample that has ended stays where it is."""

    z: Tree
    """The iterates, `(steps + 1, *batch, ...)`."""
    energy: Tensor
    """Their energies `(steps + 1, *batch)`."""
    gradient_norm: Tensor
    """The largest components of their gradients, `(steps + 1, *batch)`."""


@dataclass(frozen=True)
class Minimum:
    """The answer of a minimisation, one row per sample of the batch.

    Where a sample did not converge, `z` is the best point that it visited.
    """

    z: Tree
    """The minimisers, shaped as the start."""
    energy: Tensor
    """Their energies `(*batch,)`, with the derivative that the adjoint gives."""
    status: Tensor
    """A `Status` each, `(*batch,)`."""
    steps: Tensor
    """Steps taken before the sample ended."""
    evaluations: Tensor
    """Evaluations of the energy and its gradient that the sample took part in, over all of its restarts."""
    gradient_norm: Tensor
    """The largest component of the gradient at `z` that no constraint holds up; NaN from a solver that takes none."""
    trace: Trace | None = None
    """The way to the answer, when asked for."""
    starts: Minimum | None = None
    """What became of each restart, `(restarts, *batch, ...)`, without derivatives; None if there was one start."""

    @property
    def converged(self) -> Tensor:
        """Which samples converged, `(*batch,)`."""
        return self.status == Status.CONVERGED

    def summary(self) -> str:
        """How many samples ended in which way, with the advice for those that failed."""
        lines = []
        for status, count in Counter(Status(value) for value in self.status.flatten().tolist()).most_common():
            lines.append(f"{count} of {self.status.numel()} {status.name.lower().replace('_', ' ')}: {status.advice}")
        return "\n".join(lines)

    def raise_if_failed(self) -> Minimum:
        """Return itself, or raise a RuntimeError that says which way how many samples failed."""
        if not bool(self.converged.all()):
            raise RuntimeError(f"the minimisation failed for some samples:\n{self.summary()}")
        return self


def minimize(
    fn: EnergyFunction,
    start: Tree,
    solver: Solver | None = None,
    *,
    given: tuple[Tree, ...] | None = None,
    adjoint: Adjoint | None = None,
    within: Constraint | Any = None,
    penalty: Penalty | Any = None,
    restarts: int | Restarts = 1,
    trace: bool = False,
    compile: bool = False,
) -> Minimum:
    """`argmin_z fn(z, *given) + penalty(z)` for every sample by itself, from `start`.

    `fn` takes a tree of `(*batch, ...)`, such as one tensor, to energies `(*batch,)`. What it holds fixed and has a row
    for each sample is best named in `given`, `()` if there is nothing: then `fn(z, *given)` is called with the rows of
    the samples that are still going, and those that have converged cost nothing.

    `solver` is unless given ProximalLBFGS under a penalty, BFGS up to 16 features, and LBFGS above. `adjoint` says
    how derivatives return through the answer; it is `Detached` unless given: exact and free for the energy at the
    minimum. `within` keeps z in a constraint, and `penalty` adds one that need not be smooth: one term for all of z, or
    a tree of them. The best of `restarts` is kept for each sample. `trace` keeps the way there. `compile` compiles a
    step, which takes a minute and pays when many batches of one shape are solved.

    Raises ValueError if `fn` does not return one energy a sample, if that is random, if the start is not finite
    floating point, if what is given has no row for each sample, if constraints do not fit z, or if the solver cannot
    minimise what it is given.
    """
    problem, rows = pose(fn, start, given, within, penalty)
    return run(problem, rows, solver, adjoint, restarts, Loop(trace=trace, compile=compile))


def pose(
    fn: EnergyFunction,
    start: Tree,
    given: tuple[Tree, ...] | None = None,
    within: Any = None,
    penalty: Any = None,
    bind: bool = False,
) -> tuple[Problem, Tensor]:
    """The problem in rows, and the rows to start from, checked.

    With `bind`, what is given is bound to the function where it does not surely have a row for each sample.
    """
    check_start(start)
    if given is not None and not bind:
        check_given(given, start)
    with torch.no_grad():
        energies = fn(_inside(start, within, penalty), *(given or ()))
    batch = batch_of(energies, start)
    if given is not None and bind and not have_rows(given, batch):
        fn, given = bound(fn, given), None
    layout = Layout.of(start, batch)
    domain = Domain.of(layout, within, penalty)
    rows = layout.rows(start)
    if rows.is_inference() and not torch.is_inference_mode_enabled():
        rows = rows.clone()  # of which derivatives can be taken
    if domain is not None:
        domain.check(rows)
        rows = domain.project(rows)
    kept_in = energies.dtype if energies.is_floating_point() else layout.row_dtype  # counts are exact
    resolution = max(torch.finfo(kept_in).eps, torch.finfo(layout.row_dtype).eps)
    held = None if given is None else given_rows(given, batch)
    problem = Problem(fn, layout, held, domain, resolution=resolution)
    _check_separable(problem, rows, energies)
    return problem, rows


def _inside(start: Tree, within: Any, penalty: Any) -> Tree:
    """The nearest start that the constraints allow, for an energy that is not defined elsewhere.

    Before the batch is known: they act on the last axis, so that the first is enough.
    """
    layout = Layout.of(start, tree_flatten(start)[0][0].shape[:1])
    domain = Domain.of(layout, within, penalty)
    if domain is None:
        return start
    rows = layout.rows(start)
    domain.check(rows)
    return layout.tree(domain.project(rows), layout.batch)


def run(
    problem: Problem,
    rows: Tensor,
    solver: Solver | None = None,
    adjoint: Adjoint | None = None,
    restarts: int | Restarts = 1,
    loop: Loop | None = None,
) -> Minimum:
    """Minimise a problem from rows `(N, D)`."""
    adjoint, loop = adjoint or Detached(), loop or Loop()
    solver = solver or _default_solver(problem, rows)
    restarts = Restarts(restarts) if isinstance(restarts, int) else restarts
    for name, value, kind in (
        ("solver", solver, Solver),
        ("adjoint", adjoint, Adjoint),
        ("restarts", restarts, Restarts),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"`{name}` is an instance of {kind.__name__}, such as `{_SUCH_AS[name]}`, not {value!r}")
    _check_solver(problem, solver)
    if restarts.count == 1:
        return _answer(problem, adjoint, solver, adjoint.solve(problem, rows, solver, loop))
    repeated = problem.repeated(restarts.count)
    ended = adjoint.solve(repeated, restarts.draw(rows), solver, loop)
    chosen = _answer(problem, adjoint, solver, _best(ended, restarts.count))
    return replace(chosen, starts=_starts(problem, solver, ended, restarts.count))


def _check_separable(problem: Problem, rows: Tensor, energies: Tensor) -> None:
    """Refuse an energy that is random, or whose samples see each other: another look at the first half tells."""
    half = rows if problem.given is None else rows[: (len(rows) + 1) // 2]
    some = problem if problem.given is None else problem.subset(torch.arange(len(half), device=rows.device))
    with torch.no_grad():
        again = some.smooth(half)
    change = (again - energies.reshape(-1)[: len(half)]).abs()
    # Far above what another batch size rounds differently, in TF32 too, and far below what noise or a mean changes.
    if bool((change > max(1e-2, 16 * problem.resolution) * (1 + again.abs())).any()):
        raise ValueError(
            f"two evaluations of the energy at one z differ by up to {change.max():.2g}: it draws noise, or the energy"
            " of a sample depends on which others are in the batch, so that no sample has a minimum of its own; is"
            " there a dropout, or a normalisation over the batch?"
        )


def _default_solver(problem: Problem, rows: Tensor) -> Solver:
    if problem.domain is not None and problem.domain.penalised:
        return ProximalLBFGS()
    return BFGS() if rows.shape[1] <= DENSE else LBFGS()


_SUCH_AS = {"solver": "LBFGS(tolerance=1e-6)", "adjoint": "Implicit()", "restarts": "Restarts(4)` or `4"}


def _check_solver(problem: Problem, solver: Solver) -> None:
    if solver.steps < 0 or solver.patience < 1 or not solver.tolerance >= 0:
        raise ValueError(
            f"a solver has steps and a tolerance that are not negative, and a patience of at least 1: {solver}"
        )
    if problem.domain is not None and problem.domain.penalised and not (solver.proximal or solver.gradient_free):
        raise ValueError(
            f"{type(solver).__name__} follows gradients, which a penalty has none of where it matters, at its kinks:"
            " use ProximalLBFGS, or write a smooth penalty into the energy"
        )


def _answer(problem: Problem, adjoint: Adjoint, solver: Solver, ended: Ended) -> Minimum:
    layout, batch = problem.layout, problem.layout.batch
    z, energy = adjoint.attach(problem, ended)
    norm = torch.full_like(ended.residual, torch.nan) if solver.gradient_free else ended.residual
    return Minimum(
        z=layout.tree(z, batch),
        energy=energy.reshape(batch),
        status=ended.status.reshape(batch),
        steps=ended.steps.reshape(batch),
        evaluations=ended.evaluations.reshape(batch),
        gradient_norm=norm.detach().reshape(batch),
        trace=_trace(layout, ended) if ended.trace else None,
    )


def _trace(layout: Layout, ended: Ended) -> Trace:
    z, energy, residual = (torch.stack([part.detach() for part in parts]) for parts in zip(*ended.trace, strict=True))
    count, batch = len(energy), layout.batch
    return Trace(layout.tree(z, (count, *batch)), energy.reshape(count, *batch), residual.reshape(count, *batch))


def _best(ended: Ended, count: int) -> Ended:
    """For each sample the lowest of its restarts, with what all of them cost."""
    energies = ended.point.energy.detach().reshape(count, -1).nan_to_num(nan=torch.inf)
    n = energies.shape[1]
    rows = energies.argmin(0) * n + torch.arange(n, device=energies.device)
    chosen = tree_map(lambda part: part[..., rows, :] if part.ndim == 2 else part[..., rows], ended)
    return chosen._replace(evaluations=ended.evaluations.reshape(count, n).sum(0))


def _starts(problem: Problem, solver: Solver, ended: Ended, count: int) -> Minimum:
    """What became of each restart."""
    layout = replace(problem.layout, batch=torch.Size((count, *problem.layout.batch)))
    detached = tree_map(Tensor.detach, ended)
    norm = torch.full_like(detached.residual, torch.nan) if solver.gradient_free else detached.residual
    return Minimum(
        z=layout.tree(detached.point.z, layout.batch),
        energy=detached.point.energy.reshape(layout.batch),
        status=detached.status.reshape(layout.batch),
        steps=detached.steps.reshape(layout.batch),
        evaluations=detached.evaluations.reshape(layout.batch),
        gradient_norm=norm.reshape(layout.batch),
    )
