"""How derivatives come back through a minimisation, chosen by one argument."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from ebm.curvature import product_of
from ebm.linear import LinearSolution, conjugate_gradients, solve_dense
from ebm.problem import Point, Problem
from ebm.solve import Ended, Loop, Status, solve
from ebm.solvers.gradient_descent import GradientDescent
from ebm.solvers.solver import Solver


class Adjoint(ABC):
    """Runs a solve, and gives its answer the derivatives that this adjoint stands for."""

    def solve(self, problem: Problem, start: Tensor, solver: Solver, loop: Loop) -> Ended:
        """Solve from the rows `start`, by default without recording anything."""
        with torch.no_grad():
            return solve(problem.detached(), start.detach(), solver, loop)

    @abstractmethod
    def attach(self, problem: Problem, ended: Ended) -> tuple[Tensor, Tensor]:
        """The answer `z` (N, D) and its energies (N,), with their derivatives."""


@final
@dataclass(frozen=True)
class Detached(Adjoint):
    """No derivative through `z`. Exact to first order for `min_z E` (envelope theorem; Danskin 1967), and free.

    Second derivatives of the minimum need the derivative of `z` itself, so that asking for them raises.
    """

    def attach(self, problem: Problem, ended: Ended) -> tuple[Tensor, Tensor]:
        energy = problem.energies(ended.point.z)
        return ended.point.z, _FirstOrder.apply(energy) if energy.requires_grad else energy


@final
@dataclass(frozen=True)
class Unrolled(Adjoint):
    """Back through every step taken: for losses of `z` itself, in memory that grows with the number of steps.

    With `checkpoint` only the iterates are kept and each step is computed again on the way back.
    """

    checkpoint: bool = False

    def solve(self, problem: Problem, start: Tensor, solver: Solver, loop: Loop) -> Ended:
        return solve(problem, start, solver, replace(loop, checkpoint=self.checkpoint))

    def attach(self, problem: Problem, ended: Ended) -> tuple[Tensor, Tensor]:
        return ended.point.z, problem.energies(ended.point.z)


@final
@dataclass(frozen=True)
class Truncated(Adjoint):
    """Back through the last steps only: `steps` more of them are taken from the answer, and recorded.

    Taken by `solver`, or by the one that solved. Biased: a step of gradient descent follows the stiffest direction
    of the energy and forgets the weak ones (Shaban et al. 2019).
    """

    steps: int = 10
    solver: Solver | None = None

    def solve(self, problem: Problem, start: Tensor, solver: Solver, loop: Loop) -> Ended:
        ended = super().solve(problem, start, solver, loop)
        if not torch.is_grad_enabled():
            return ended
        return ended._replace(point=_walk(problem, ended.point.z, self.solver or solver, self.steps))

    def attach(self, problem: Problem, ended: Ended) -> tuple[Tensor, Tensor]:
        return ended.point.z, problem.energies(ended.point.z)


@final
@dataclass(frozen=True)
class OneStep(Adjoint):
    """The derivative of one step of gradient descent from the answer (Bolte, Pauwels, Vaiter 2023; Fung et al. 2022).

    As cheap as can be, and far off where one step of this `rate` is far from a whole solve.
    """

    rate: float = 0.1

    def attach(self, problem: Problem, ended: Ended) -> tuple[Tensor, Tensor]:
        return Truncated(1).attach(
            problem, ended._replace(point=_walk(problem, ended.point.z, GradientDescent(self.rate), 1))
        )


@final
@dataclass(frozen=True)
class Implicit(Adjoint):
    """`dz = -H^-1 d(dE/dz)`: the derivative of the condition that holds at a minimum (implicit function theorem).

    Under constraints and penalties the condition is that of the face on which the minimum lies, `Q dE/dz = 0` for z in
    that face, with `H` the curvature of the energy and of the face's boundary within it. Up to `dense` features a
    sample the matrix is written out, above that conjugate gradients take Hessian-vector products up to a relative
    residual of `tolerance`, in at most `steps` of them. No list of parameters is needed.

    `polish` adds a Newton step to the answer, which squares the error of one that stopped early (kept where it brings
    the gradient down). Second derivatives of the energy at the minimum are exact; of `z` itself they raise.

    Warns where the solve or the linear system did not converge, with a bound on the error of z.
    """

    tolerance: float = 1e-6
    steps: int = 200
    dense: int = 32
    polish: bool = False

    def attach(self, problem: Problem, ended: Ended) -> tuple[Tensor, Tensor]:
        if not torch.is_grad_enabled():
            return ended.point.z, problem.energies(ended.point.z)
        system = _System(problem, ended.point.z, self)
        if self.polish:
            system = self._polished(problem, system, ended)
        _warn_unconverged(problem, ended, system)
        z = system.z.detach()
        live = _Follow.apply(z, system.gradient, system)
        return _FollowOnce.apply(z, system.gradient, system), problem.energies(live)

    def _polished(self, problem: Problem, system: _System, ended: Ended) -> _System:
        before = _point(problem, system)
        step = system.solve(problem.slope(before)).w
        moved = (
            problem.detached()(before.z - step)
            if problem.domain is None
            else problem.detached()(problem.domain.project(before.z - step))
        )
        flatter = problem.slope(moved).abs().amax(-1) < problem.slope(before).abs().amax(-1)
        return _System(problem, torch.where(flatter[:, None], moved.z, before.z), self)


class _System:
    """The curvature of the energy on the face that the minimum lies on, and the gradient whose graph gives it."""

    def __init__(self, problem: Problem, z: Tensor, adjoint: Implicit) -> None:
        self.domain, self.adjoint = problem.domain, adjoint
        with torch.enable_grad():
            self.z = z.detach().requires_grad_()
            (self.gradient,) = torch.autograd.grad(problem.smooth(self.z).sum(), self.z, create_graph=True)

    def product(self, w: Tensor) -> Tensor:
        """`(Q H Q + K + 1 - Q) w`, which is symmetric and acts on the face as its curvature does."""
        z, gradient = self.z.detach(), self.gradient.detach()
        if self.domain is None:
            return product_of(self.gradient, self.z, w)
        free = self.domain.free(z, gradient, w)
        bent = self.domain.free(z, gradient, product_of(self.gradient, self.z, free))
        return bent + self.domain.curvature(z, gradient, free) + w - free

    def solve(self, v: Tensor) -> LinearSolution:
        """What `w` on the face has `product(w) = v` there."""
        z, gradient = self.z.detach(), self.gradient.detach()
        b = v.detach() if self.domain is None else self.domain.free(z, gradient, v.detach())
        if z.shape[-1] <= self.adjoint.dense:
            return solve_dense(self.product, b)
        return conjugate_gradients(self.product, b, self.adjoint.tolerance, self.adjoint.steps)


class _Follow(torch.autograd.Function):
    """`z` itself, which moves by `-H^-1` times what the gradient does. The linear solve is taken as a constant.

    That is exact for second derivatives of the energy, in whose first derivative it is multiplied by zero.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, gradient: Tensor, system: _System) -> Tensor:
        ctx.system = system
        return z.clone()

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        return None, -_checked(ctx.system, v), None


class _FollowOnce(torch.autograd.Function):
    """The same for whatever may be done with z: its second derivative would be wrong, and raises."""

    forward = _Follow.forward

    @staticmethod
    def backward(ctx: Any, v: Tensor) -> Any:
        return None, Refuse.apply(-_checked(ctx.system, v), ctx.system.gradient, _SECOND_OF_Z), None


class _FirstOrder(torch.autograd.Function):
    """The energies themselves, whose second derivatives raise."""

    @staticmethod
    def forward(ctx: Any, energy: Tensor) -> Tensor:
        ctx.save_for_backward(energy)
        return energy.clone()

    @staticmethod
    def backward(ctx: Any, weights: Tensor) -> Any:
        # Ties the weights to the energy's graph, so that any way back to a parameter a second time leads through here.
        return Refuse.apply(weights, *ctx.saved_tensors, _SECOND_OF_ENERGY)


class Refuse(torch.autograd.Function):
    """A tensor, tied to a graph: a derivative of it that leads into that graph raises."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, graph: Tensor, message: str) -> Tensor:
        ctx.message = message
        return values.clone()

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> Any:
        raise RuntimeError(ctx.message)


_SECOND_OF_ENERGY = (
    "a second derivative of min_z E needs the derivative of the minimiser, which `Detached` leaves out; without it it"
    " would be silently wrong. Use `adjoint=Implicit()`, or `Unrolled()`"
)
_SECOND_OF_Z = (
    "a second derivative of the minimiser z needs third derivatives of the energy, which `Implicit` leaves out: it has"
    " those of the energy at the minimum only. Use `Unrolled()`"
)


def _checked(system: _System, v: Tensor) -> Tensor:
    solution = system.solve(v)
    bad = (solution.residual > 10 * max(system.adjoint.tolerance, torch.finfo(v.dtype).eps ** 0.5)) | (
        solution.curvature <= 0
    )
    if bool(bad.any()):
        bound = (solution.residual / solution.curvature.clamp_min(0)).nan_to_num(nan=torch.inf)[bad].max()
        warnings.warn(
            f"the linear system of the implicit derivative was not solved for {int(bad.sum())} of {len(v)} samples:"
            f" relative residual up to {solution.residual.max():.1e}, smallest curvature"
            f" {solution.curvature.min():.1e}, which bounds the error of the derivative by {bound:.1e} times the"
            " gradient of the loss. Where the curvature is not positive the answer is no strict minimum: add"
            " a penalty on z, or more `restarts`; else raise `Implicit(steps=...)`",
            stacklevel=2,
        )
    return solution.w


def _warn_unconverged(problem: Problem, ended: Ended, system: _System) -> None:
    failed = ended.status != int(Status.CONVERGED)
    if not bool(failed.any()):
        return
    slope = problem.slope(_point(problem, system)).detach()
    solution = system.solve(slope)
    distance = torch.linalg.vector_norm(solution.w, dim=-1)[failed].max()
    warnings.warn(
        f"{int(failed.sum())} of {len(failed)} samples did not converge before the implicit derivative was taken, which"
        f" assumes that they did: they are up to {distance:.1e} from their minima (a Newton step), and the"
        " derivative is off in proportion. Use more `steps`, or `Implicit(polish=True)`, which squares that error",
        stacklevel=2,
    )


def _point(problem: Problem, system: _System) -> Point:
    z = system.z.detach()
    return Point(z, z.new_zeros(len(z)), system.gradient.detach())


def _walk(problem: Problem, z: Tensor, solver: Solver, steps: int) -> Point:
    """Steps from the rows z, with nothing to stop them."""
    point = problem(z)
    state = solver.init(problem, point)
    for _ in range(steps):
        point, state = solver.step(problem, point, state)
    return point
