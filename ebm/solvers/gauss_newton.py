"""Gauss-Newton with Levenberg and Marquardt's damping, for sums of squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.func import jvp, vjp, vmap

from ebm.solvers.damping import Model, damped_step, model_of
from ebm.solvers.solver import Point, Problem, Solver, State


class Memory(NamedTuple):
    """The model of each sample, and what its Jacobian costs."""

    model: Model
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

    damping: float = 0.01
    steps: int = 200
    tolerance: float = 1e-4
    patience: int = 25

    def init(self, problem: Problem, point: Point) -> State:
        jacobian = residual_jacobian(problem, point.z)
        products = torch.full_like(point.energy, min(jacobian.shape[1:]), dtype=torch.long)
        return Memory(model_of(2 * jacobian.mT @ jacobian, self.damping), products)

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        memory = Memory(*state)

        def curvature(z: Tensor) -> Tensor:
            jacobian = residual_jacobian(problem, z)
            return 2 * jacobian.mT @ jacobian

        point, model = damped_step(problem, point, memory.model, curvature)
        return point, memory._replace(model=model)

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        return (steps + 1) * (1 + Memory(*state).products)


def residual_jacobian(problem: Problem, z: Tensor) -> Tensor:
    """The Jacobians `(N, m, D)` of the residuals at the rows z (N, D), without a graph.

    In forward mode column by column where there are fewer columns than rows, else in reverse mode row by row, all at
    once. A column of every sample's comes from one direction for all, since no sample's residuals see another.
    """
    z = z.detach()
    with torch.no_grad():
        residuals, pull = vjp(problem.residuals, z)
        n, m = residuals.shape
        if z.shape[1] <= m:
            axes = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)[:, None].expand(-1, n, -1)
            columns = vmap(lambda axis: jvp(problem.residuals, (z,), (axis,))[1])(axes)
            return columns.detach().movedim(0, -1)
        axes = torch.eye(m, dtype=z.dtype, device=z.device)[:, None].expand(-1, n, -1)
        return vmap(pull)(axes)[0].detach().movedim(0, -2)
