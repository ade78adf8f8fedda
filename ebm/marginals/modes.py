"""The modes of `p exp(-beta E)` that several starts lead to, each once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ebm.curvature import dense, hessian_product
from ebm.marginals.prior import Prior
from ebm.minimize import Minimum, Restarts, run
from ebm.problem import Point, Problem
from ebm.solvers.solver import Solver


@dataclass(frozen=True)
class Modes:
    """Up to M distinct modes of N samples, minima of `U = E - log p / beta`, the lowest first. Without derivatives."""

    z: Tensor
    """Where they are, `(M, N, D)`; copies of the first where a sample has fewer."""
    energy: Tensor
    """`U` there, `(M, N)`, up to a constant of the prior."""
    distinct: Tensor
    """Which of them are not copies, `(M, N)`; none where no energy was finite."""
    strict: Tensor
    """Which are minima with curvature in all directions, not points where a solve was stopped, `(M, N)`."""
    curvatures: Tensor
    """The eigenvalues of the Hessians of U, `(M, N, D)`."""
    axes: Tensor
    """Their eigenvectors, in columns, `(M, N, D, D)`."""
    search: Minimum
    """How the solves ended."""

    def __len__(self) -> int:
        return len(self.z)


def find_modes(
    problem: Problem, rows: Tensor, prior: Prior, beta: float, solver: Solver | None, restarts: int | Restarts
) -> tuple[Problem, Modes]:
    """The problem with the prior in it, and its modes from the rows `(N, D)` and whatever restarts are asked for.

    Each solve is followed by a Newton step, which squares what its tolerance left. Two answers are one mode where they
    are less than a tenth of a deviation of `exp(-beta U)` apart.
    """
    posed = prior.posed(problem, beta)
    with torch.no_grad():
        held = posed.detached()
        search = run(held, rows, solver, restarts=restarts)
        z = _found(held, search, rows)
        point, curvatures, axes = _polished(held.repeated(len(z)), z.flatten(0, 1))
        parts = (point.z, point.energy, curvatures, axes)
        z, distinct = _distinct([part.unflatten(0, z.shape[:2]) for part in parts], beta)
        return posed, _modes(held.repeated(len(z)), z, distinct, beta, search)


def _modes(problem: Problem, z: Tensor, distinct: Tensor, beta: float, search: Minimum) -> Modes:
    """What is to be known of modes at z (M, N, D)."""
    point = problem(z.flatten(0, 1))
    curvatures, axes = _spectrum(problem, point.z)
    parts = (point.z, point.energy, _strict(point, curvatures, axes, beta), curvatures, axes)
    at, energy, strict, curvatures, axes = (part.unflatten(0, z.shape[:2]) for part in parts)
    return Modes(at, energy, distinct, strict & distinct, curvatures, axes, search)


def _found(problem: Problem, search: Minimum, rows: Tensor) -> Tensor:
    """The answers of all starts, `(K, N, D)`."""
    every = search.starts or search
    count = every.status.numel() // len(rows)
    layout = replace(problem.layout, batch=torch.Size((count, *problem.layout.batch)))
    return layout.rows(every.z).unflatten(0, (count, len(rows)))


def _polished(problem: Problem, z: Tensor) -> tuple[Point, Tensor, Tensor]:
    """The points after a Newton step, where it makes them flatter, and the Hessians before it."""
    point = problem(z)
    curvatures, axes = _spectrum(problem, point.z)
    slope = (axes.mT @ problem.slope(point)[..., None])[..., 0]
    step = (axes @ (slope / _least(curvatures.abs()))[..., None])[..., 0]
    convex = _convex(curvatures)[:, None]
    moved = problem(torch.where(convex & step.isfinite(), point.z - step, point.z))
    flatter = problem.slope(moved).abs().amax(-1) < problem.slope(point).abs().amax(-1)
    keep = flatter & moved.energy.isfinite()
    chosen = (torch.where(keep.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(moved, point, strict=True))
    return Point(*chosen), curvatures, axes


def _spectrum(problem: Problem, z: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenvectors of the Hessians of the smooth energies; those of one where they are not finite."""
    hessian = dense(hessian_product(problem, z), z)
    finite = hessian.isfinite().all(-1).all(-1)[:, None, None]
    eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    values, axes = torch.linalg.eigh(torch.where(finite, hessian, eye))
    return values, axes


def _convex(curvatures: Tensor) -> Tensor:
    """Whether all eigenvalues are positive by more than rounding."""
    noise = curvatures.shape[-1] * torch.finfo(curvatures.dtype).eps
    return curvatures.amin(-1) > noise * curvatures.abs().amax(-1)


def _strict(point: Point, curvatures: Tensor, axes: Tensor, beta: float) -> Tensor:
    """Whether a quadratic with this gradient and Hessian has its minimum within a tenth of a deviation."""
    slope = (axes.mT @ point.gradient[..., None])[..., 0]
    decrement = beta * (slope.square() / _least(curvatures)).sum(-1)
    return _convex(curvatures) & (decrement < 0.01) & point.energy.isfinite()


def _distinct(parts: list[Tensor], beta: float) -> tuple[Tensor, Tensor]:
    """The M lowest of K answers, `(M, N, D)`, that are not near a lower one, and which of them are no copies."""
    z, energy, curvatures, axes = parts
    finite = energy.isfinite()
    order = torch.where(finite, energy, torch.inf).argsort(dim=0, stable=True)
    z, curvatures, axes, finite = _sorted(order, z, curvatures, axes, finite)
    first: list[Tensor] = []
    for k in range(len(z)):
        seen = torch.stack([*first, torch.zeros_like(finite[0])])[:k]
        near = seen & _near(z[:k], z[k], curvatures[:k], axes[:k], beta)
        first.append(finite[k] & ~near.any(0))
    distinct = torch.stack(first)
    count = max(int(distinct.sum(0).max()), 1)
    order = (~distinct).to(torch.long).argsort(dim=0, stable=True)[:count]
    z, distinct = _sorted(order, z, distinct)
    return torch.where(distinct[..., None], z, z[:1]), distinct


def _near(lower: Tensor, z: Tensor, curvatures: Tensor, axes: Tensor, beta: float) -> Tensor:
    """Which of the lower modes `(k, N, D)` a point `(N, D)` is one with."""
    offset = lower - z
    along = (axes.mT @ offset[..., None])[..., 0]
    deviations = beta * (along.square() * curvatures.abs()).sum(-1)
    rounding = torch.finfo(z.dtype).eps ** 0.5 * (1 + z.abs().amax(-1))
    return (deviations < 0.01) | (offset.abs().amax(-1) < rounding)


def _sorted(order: Tensor, *parts: Tensor) -> list[Tensor]:
    return [part.gather(0, _like(order, part).expand(len(order), *part.shape[1:])) for part in parts]


def _like(mask: Tensor, part: Tensor) -> Tensor:
    """A tensor `(K, N)` with as many axes as another."""
    return mask.reshape(*mask.shape, *[1] * (part.ndim - 2))


def _least(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny)
