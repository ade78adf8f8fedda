"""Gauss-Newton with Levenberg and Marquardt's damping, for sums of squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.damping import Model, damped_step, every_product, every_product_retraced, model_of
from ebm.solvers.solver import Point, Problem, Solver, State


class Memory(NamedTuple):
    """The model of each sample, as in `Model`, and what its Jacobian costs."""

    curvature: Tensor
    damping: Tensor
    growth: Tensor
    products: Tensor  # (N,), the same for all


@final
@dataclass(frozen=True)
class GaussNewton(Solver):
    """`z <- z - (2 J'J + damping)^-1 dE/dz` for `E = |r(z)|^2` with `J = dr/dz`: the first half of the Hessian only.

    That half has no negative curvature, takes first derivatives, and is all there is where the residuals vanish or
    are linear. Damped as by Levenberg 1944 and Marquardt 1963, by how well the last step went, for each sample; under
    constraints on the free face. The problem is a `SumOfSquares`, or an energy with `residuals`.

    A step counts as an evaluation, and one for each product with the Jacobian: as many as there are features, or
    residuals where those are fewer.

    Raises ValueError where the function has no residuals.
    """

    least_squares: ClassVar[bool] = True

    damping: float = 1e-3
    steps: int = 200
    tolerance: float = 1e-4
    patience: int = 25

    def init(self, problem: Problem, point: Point) -> State:
        jacobian, products = residual_jacobian(problem, point.z)
        model = model_of(2 * jacobian.mT @ jacobian, self.damping)
        return Memory(*model, torch.full_like(point.energy, products, dtype=torch.long, requires_grad=False))

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        *model, products = Memory(*state)

        def curvature(z: Tensor) -> Tensor:
            jacobian, _ = residual_jacobian(problem, z)
            return 2 * jacobian.mT @ jacobian

        point, after = damped_step(problem, point, Model(*model), curvature)
        return point, Memory(*after, products)

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        return (steps + 1) * (1 + Memory(*state).products)


def residual_jacobian(problem: Problem, z: Tensor) -> tuple[Tensor, int]:
    """The Jacobians `(N, m, D)` of the residuals at the rows z (N, D), without a graph, and the products they took.

    By the D columns where these are not more than the m rows: `J v` is the derivative of `J'w` along v with respect to
    w, which needs no forward mode. One direction does for all samples, of which none sees another.
    """
    if torch.is_inference_mode_enabled():
        rows = every_product_retraced(problem.residuals, z)
        return rows.transpose(0, 1), len(rows)
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        residuals = problem.residuals(leaf)
        m, d = residuals.shape[1], z.shape[1]
        if m < d:
            return every_product(residuals, leaf).transpose(0, 1), m
        weights = torch.zeros_like(residuals, requires_grad=True)
        (pulled,) = torch.autograd.grad(residuals, leaf, weights, create_graph=True)
    return every_product(pulled, weights).movedim(0, -1), d
