"""Newton's method, damped for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor
from torch.func import grad

from ebm.solvers.damping import Model, damped_step, every_product, every_product_retraced, model_of
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
    """The Hessians `(N, D, D)` of the smooth energies at the rows z (N, D), without a graph."""
    if torch.is_inference_mode_enabled():
        rows = every_product_retraced(grad(lambda z: problem.smooth(z).sum()), z)
    else:
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(problem.smooth(leaf).sum(), leaf, create_graph=True)
        rows = every_product(gradient, leaf)
    matrix = rows.transpose(0, 1)
    return (matrix + matrix.mT) / 2
