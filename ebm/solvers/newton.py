"""Newton's method, damped for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from ebm.curvature import dense, hessian_product, product_of
from ebm.solvers.damping import Model, damped_step, model_of
from ebm.solvers.solver import Point, Problem, Solver, State


@final
@dataclass(frozen=True)
class Newton(Solver):
    """`z <- z - (H + damping)^-1 dE/dz` with the whole Hessian `H` of each sample: a few steps, each of them dear.

    The damping (Levenberg 1944, Marquardt 1963) is at least what makes the matrix positive definite, so that steps
    lead down where the curvature is negative, and follows how well the last step went: it vanishes near a minimum,
    where the error squares from step to step. Under constraints all of this is on the free face (Bertsekas 1982).

    A step counts as `1 + features` evaluations, one of them for each column of the Hessian; for more than some
    hundred features the matrix `(N, D, D)` is large and L-BFGS the better choice. A start with no slope at all, be it
    a saddle or a maximum, is where a solve ends.
    """

    damping: float = 0.3
    steps: int = 200
    tolerance: float = 1e-4
    patience: int = 25

    def init(self, problem: Problem, point: Point) -> State:
        return model_of(hessian(problem, point.z), self.damping)

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        return damped_step(problem, point, Model(*state), partial(hessian, problem))

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        return (steps + 1) * (1 + features)


def hessian(problem: Problem, z: Tensor) -> Tensor:
    """The Hessians `(N, D, D)` of the smooth energies at the rows z (N, D), without a graph.

    All columns in one batched backward pass, or one by one where the energy has a step that cannot be batched.
    """
    if torch.is_inference_mode_enabled():
        return dense(hessian_product(problem, z), z)
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(problem.smooth(leaf).sum(), leaf, create_graph=True)
    if not gradient.requires_grad:  # the energy is linear
        return z.new_zeros(*z.shape, z.shape[1])
    axes = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None].expand(-1, *z.shape)
    try:
        (columns,) = torch.autograd.grad(
            gradient, leaf, axes, is_grads_batched=True, retain_graph=True, materialize_grads=True
        )
    except RuntimeError:
        return dense(partial(product_of, gradient, leaf), z)
    matrix = columns.movedim(0, -1).detach()
    return (matrix + matrix.mT) / 2
