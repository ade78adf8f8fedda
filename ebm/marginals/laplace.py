"""A Gaussian at every mode."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from ebm.adjoint import Refuse
from ebm.curvature import dense, hessian_product
from ebm.marginals.marginal import Continuous, Estimate
from ebm.marginals.modes import Modes, find_modes
from ebm.marginals.prior import Prior
from ebm.minimize import Restarts
from ebm.problem import Problem
from ebm.solvers.solver import Solver


@final
@dataclass(frozen=True)
class Laplace(Continuous):
    """`F_k = U(z_k) + log det(beta H_k / 2 pi) / (2 beta)` at each mode of `U = E - log p / beta`, with H its Hessian,
    and `F = -1/beta log sum_k exp(-beta F_k)` (Tierney and Kadane 1986). Exact for a quadratic E and a normal prior.

    First derivatives are exact for this formula: that of the determinant is taken, and modes move as their condition
    says (implicit function theorem), which takes third derivatives of E by autograd; second ones raise. It costs as
    many products with the Hessian as z has features, for each mode.

    The error is what the leading term left out would change: the anharmonicity of U at `3^(1/2)` deviations to both
    sides along each axis of H (Gauss-Hermite quadrature of degree 5), with the modes that were found but left out for
    want of curvature counted as if as wide as the best. It is infinite where the best point is such a one; there the
    value is U alone. It tells the size of the error, not a bound, and knows nothing of a mode that no restart found.
    Where a mode is wide and far from quadratic, which an error near `1 / beta` says, derivatives are worse than the
    value: the determinant changes fast where curvature is close to nothing. Use ImportanceSampling there.
    """

    def estimate(self, problem: Problem, rows: Tensor, solver: Solver | None, restarts: int | Restarts) -> Estimate:
        if problem.domain is not None:
            raise ValueError(
                "Laplace needs curvature at the modes, where penalties have kinks: use ImportanceSampling or"
                " AnnealedImportanceSampling, or write a smooth penalty into the energy"
            )
        posed, modes = find_modes(problem, rows, self.prior, self.beta, solver, restarts)
        masses = self._log_masses(problem, posed, modes)
        error = _anharmonicity(posed, modes, self.prior, self.beta, masses.detach())
        batch = problem.layout.batch
        return Estimate(
            value=masses.logsumexp(0).div(-self.beta).reshape(batch),
            error=error.reshape(batch),
            effective_sample_size=torch.full_like(error, torch.nan).reshape(batch),
            modes=modes.strict.sum(0).reshape(batch),
            search=modes.search,
        )

    def _log_masses(self, problem: Problem, posed: Problem, modes: Modes) -> Tensor:
        """`-beta F_k`, `(M, N)`; minus infinity for modes that are left out, and the best alone where all are."""
        flat, keep = modes.z.flatten(0, 1), modes.strict.flatten()
        many = posed.repeated(len(modes))
        log_det, drift = _volume(many, flat, keep, self.beta)
        energy = problem.repeated(len(modes)).energies(flat) + drift
        height = (self.prior.log_density(flat) - self.beta * energy).unflatten(0, modes.strict.shape)
        width = (flat.shape[-1] * math.log(2 * math.pi / self.beta) - log_det).unflatten(0, modes.strict.shape) / 2
        masses = torch.where(modes.strict, height + width, -torch.inf)
        alone = torch.zeros_like(modes.strict)
        alone[0] = ~modes.strict.any(0)
        return torch.where(alone, height, masses)


def _volume(problem: Problem, z: Tensor, keep: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """`log det H` at the rows that are kept, and zeros `(M N,)` whose derivative is that of its change with z."""
    if not torch.is_grad_enabled():
        return _log_det(dense(hessian_product(problem, z), z), keep), torch.zeros_like(z[:, 0])
    leaf = z.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(problem.smooth(leaf).sum(), leaf, create_graph=True)
    hessian = dense(_product(gradient, leaf), leaf)
    log_det = _log_det(hessian, keep)
    steepest = torch.zeros_like(z)
    if log_det.requires_grad:
        (steepest,) = torch.autograd.grad(log_det.sum(), leaf, retain_graph=True, materialize_grads=True)
    eye = torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    curved = torch.where(keep[:, None, None], hessian.detach(), eye)
    moves = torch.linalg.solve(curved, steepest[..., None])[..., 0]
    return log_det, _Drift.apply(gradient, torch.where(keep[:, None], -moves / (2 * beta), 0))


def _product(gradient: Tensor, z: Tensor) -> Callable[[Tensor], Tensor]:
    """`v -> H v`, with its own derivatives."""
    if not gradient.requires_grad:
        return torch.zeros_like
    return lambda v: torch.autograd.grad(gradient, z, v, create_graph=True, materialize_grads=True)[0]


def _log_det(hessian: Tensor, keep: Tensor) -> Tensor:
    eye = torch.eye(hessian.shape[-1], dtype=hessian.dtype, device=hessian.device)
    factor, _ = torch.linalg.cholesky_ex(torch.where(keep[:, None, None], hessian, eye))
    return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class _Drift(torch.autograd.Function):
    """Zeros that change by `weights` times what the gradient does. Second derivatives would be wrong, and raise."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(gradient, weights)
        return torch.zeros_like(gradient[:, 0])

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        gradient, weights = ctx.saved_tensors
        # Tied to the gradient, so that any way back to what it depends on a second time leads through here.
        return Refuse.apply(v[:, None] * weights, gradient, _SECOND), None


_SECOND = (
    "second derivatives of Laplace take fourth ones of the energy, and are not implemented: use ImportanceSampling,"
    " whose samples are held constant"
)


def _anharmonicity(problem: Problem, modes: Modes, prior: Prior, beta: float, masses: Tensor) -> Tensor:
    """How far U is from its quadratic at the modes, as an error `(N,)` of F."""
    with torch.no_grad():
        least = torch.finfo(modes.z.dtype).tiny
        deviations = modes.axes * (3 / (beta * modes.curvatures.clamp_min(least))).sqrt()[..., None, :]
        steps = deviations.movedim(-1, 0).flatten(1, 2)  # (D, M N, D): one for each axis
        z = modes.z.flatten(0, 1) + torch.cat([steps, -steps])
        energy = problem.detached().repeated(len(modes)).candidates(prior.project(z))
        energy = torch.where(prior.log_density(z).isfinite(), energy, torch.inf)
        excess = energy - modes.energy.flatten() - 1.5 / beta
        ratios = torch.expm1(-beta * excess).unflatten(0, (2, -1)).sum(0) / 6
        each = torch.log1p(ratios).abs().sum(0).unflatten(0, modes.strict.shape)
        error = (torch.softmax(masses, 0) * torch.where(modes.strict, each, 0)).sum(0)
        left_out = modes.distinct & ~modes.strict
        gaps = torch.where(left_out, -beta * (modes.energy - modes.energy[0]), -torch.inf)
        error = error + torch.log1p(gaps.exp().sum(0))
    return torch.where(modes.strict[0], error / beta, torch.inf)
