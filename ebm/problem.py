"""What a solver is given: energies and gradients of rows of z, and where z may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.func import grad_and_value

from ebm.domain import Domain
from ebm.layout import Layout, Tree, map_rows


class Point(NamedTuple):
    """Where a batch of solves stands: `z` (N, D), its energies (N,) and the gradients (N, D) of the smooth part."""

    z: Tensor
    energy: Tensor
    gradient: Tensor


def bound(fn: Callable[..., Tensor], given: tuple[Any, ...]) -> Callable[..., Tensor]:
    """The function of z alone."""
    if isinstance(fn, SumOfSquares):
        return SumOfSquares(bound(fn.residuals, given))
    return lambda z: fn(z, *given)


RowEnergy = Callable[[Tensor], Tensor]  # (N, D) -> (N,)


class SumOfSquares:
    """`E(z) = |r(z)|^2`, one number per sample, of residuals `r(z, *given)` of shape `(*batch, m)`.

    Least squares by name, so that GaussNewton can see the residuals.
    """

    def __init__(self, residuals: Callable[..., Tensor]) -> None:
        self.residuals = residuals

    def __call__(self, z: Tree, *given: Any) -> Tensor:
        """The energies `(*batch,)`."""
        return self.residuals(z, *given).square().sum(-1)


@dataclass(frozen=True)
class Problem:
    """`min_z fn(z, *given)` for each row by itself. Call it for a `Point`, which costs one evaluation.

    `given` holds a row of each held variable for each sample; it is None where the function holds them itself, and
    then rows cannot be told apart: it always sees the whole batch, in its own shape, `repeats` times over.
    """

    fn: Callable[..., Tensor]
    layout: Layout
    given: tuple[Tree, ...] | None = None
    domain: Domain | None = None
    repeats: int = 1
    resolution: float = 0.0
    """What one rounding of an energy is, as a share of it."""
    anchor: Tensor | None = None
    """Where a recorded solve began (N, D): stands in for points without an energy, whose derivative would be NaN."""

    def __call__(self, z: Tensor, step: Tensor | None = None) -> Point:
        """The point at the rows `z` (N, D), or at the nearest ones that the constraints allow.

        With a `step` (N, 1), at the proximal point of the penalties instead.
        """
        if self.domain is not None:
            z = self.domain.project(z) if step is None else self.domain.prox(z, step)
        energy, gradient = self._recorded(z) if torch.is_grad_enabled() else value_and_gradient(self.smooth, z)
        return Point(z, energy if self.domain is None else energy + self.domain.cost(z), gradient)

    def smooth(self, z: Tensor) -> Tensor:
        """Energies `(N,)` without penalties."""
        if self.given is not None:
            return self._rows(self.fn(self.layout.tree(z), *self.given), len(z))
        blocks = z.chunk(self.repeats) if self.repeats > 1 else (z,)
        done = [self._rows(self.fn(self.layout.tree(block, self.layout.batch)), len(block)) for block in blocks]
        return torch.cat(done) if len(done) > 1 else done[0]

    def energies(self, z: Tensor) -> Tensor:
        """Energies `(N,)`, penalties included."""
        return self.smooth(z) if self.domain is None else self.smooth(z) + self.domain.cost(z)

    def candidates(self, z: Tensor) -> Tensor:
        """Energies `(K, N)` of K candidates for each sample, `(K, N, D)`."""
        k, n, d = z.shape
        if self.given is None:
            return torch.stack([self.energies(one) for one in z])
        return self.repeated(k).energies(z.reshape(k * n, d)).reshape(k, n)

    def slope(self, point: Point) -> Tensor:
        """The gradient, less what constraints hold up of it and with what penalties add; zero at a minimum."""
        return point.gradient if self.domain is None else self.domain.slope(point.z, point.gradient)

    def smooth_slope(self, point: Point) -> Tensor:
        """The gradient, less what constraints hold up of it; what penalties add is left to their prox."""
        if self.domain is None or not self.domain.constrained:
            return point.gradient
        return -self.domain.tangent(point.z, -point.gradient)

    def follow(self, point: Point, direction: Tensor) -> Tensor:
        """What of a direction can be followed without leaving the constraints."""
        return direction if self.domain is None else self.domain.tangent(point.z, direction)

    def free(self, point: Point, direction: Tensor) -> Tensor:
        """What of a direction stays on the face of the constraints and penalties that a minimum here would lie on."""
        return direction if self.domain is None else self.domain.free(point.z, point.gradient, direction)

    def subset(self, index: Tensor) -> Problem:
        """The problem of some of the rows."""
        assert self.given is not None
        return replace(self, given=map_rows(lambda rows: rows[index], self.given))

    def repeated(self, times: int) -> Problem:
        """The problem of all rows several times over: N rows, then the same N rows again."""
        if self.given is None:
            return replace(self, repeats=self.repeats * times)
        return replace(self, given=map_rows(lambda rows: rows.repeat(times, *[1] * (rows.ndim - 1)), self.given))

    def detached(self) -> Problem:
        """The problem with no derivative in what is given."""
        return self if self.given is None else replace(self, given=map_rows(Tensor.detach, self.given))

    def residuals(self, z: Tensor) -> Tensor:
        """The residuals `(N, m)` of a least-squares problem.

        Raises ValueError where the function has none.
        """
        if not isinstance(self.fn, SumOfSquares):
            raise ValueError(
                "Gauss-Newton needs the residuals of a sum of squares: pass `SumOfSquares(residuals)` as the function,"
                " or give the energy a method `residuals`; for other energies use Newton or LBFGS"
            )
        whole = replace(self, fn=self.fn.residuals)
        rows = (
            whole.fn(self.layout.tree(z), *(self.given or ()))
            if self.given is not None
            else torch.cat([whole.fn(self.layout.tree(block, self.layout.batch)) for block in z.chunk(self.repeats)])
        )
        return rows.reshape(len(z), rows.shape[-1]).to(z.dtype)

    def _recorded(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Energies and gradients with their graph; at a point that has none, a constant NaN.

        Looked at once without a graph: what is not finite is kept out of it, since zero times infinity is NaN in the
        derivatives of parameters that all samples share.
        """
        with torch.no_grad():
            energy, gradient = value_and_gradient(self.smooth, z)
        good = energy.isfinite() & gradient.isfinite().all(-1)
        inside = z if self.anchor is None else torch.where(good[:, None], z, self.anchor)
        inside = inside if inside.requires_grad else inside.detach().requires_grad_()
        energies = self.smooth(inside)
        _check_differentiable(energies)
        (gradients,) = torch.autograd.grad(energies.sum(), inside, create_graph=True)
        return torch.where(good, energies, energy), torch.where(good[:, None], gradients, gradient)

    def _rows(self, energies: Tensor, n: int) -> Tensor:
        if energies.numel() != n:
            raise ValueError(
                f"the energy of {n} samples has shape {tuple(energies.shape)}, not one number for each; it is called"
                " with some of the samples only, so it may not remember how many there were"
            )
        return energies.reshape(-1).to(self.layout.row_dtype)


def value_and_gradient(fn: RowEnergy, z: Tensor) -> tuple[Tensor, Tensor]:
    """Energies `(N,)` and their gradients `(N, D)`, without a graph.

    Raises ValueError where the energies do not depend on z in a way that can be differentiated.
    """
    if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():

        def total(z: Tensor) -> tuple[Tensor, Tensor]:
            energies = fn(z)
            return energies.sum(), energies

        gradient, (_, energies) = grad_and_value(total, has_aux=True)(z)
        return energies, gradient
    with torch.enable_grad():  # the same without the overhead of torch.func
        leaf = z.detach().requires_grad_()
        energies = fn(leaf)
        _check_differentiable(energies)
        (gradient,) = torch.autograd.grad(energies.sum(), leaf)
    return energies.detach(), gradient


def _check_differentiable(energies: Tensor) -> None:
    if not energies.requires_grad:
        raise ValueError(
            "the energy has no derivative with respect to z: it does not use z, or detaches or rounds it on the way;"
            " a solver that needs none is CrossEntropyMethod, MPPI or Enumeration"
        )
