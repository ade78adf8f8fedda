"""Energies that the tests of several solvers share, and what SciPy makes of them, one sample at a time."""

from __future__ import annotations

import numpy as np
import torch
from conftest import normal
from scipy.optimize import minimize as scipy_minimize
from torch import Tensor

from ebm import Ball, Box, Simplex, Sphere, SumOfSquares, minimize
from ebm.minimize import pose


def rosenbrock_residuals(z: Tensor) -> Tensor:
    """In any number of coordinates: a chain of valleys, each bent by the one before."""
    return torch.cat([10 * (z[:, 1:] - z[:, :-1].square()), 1 - z[:, :-1]], -1)


rosenbrock = SumOfSquares(rosenbrock_residuals)


def starts(n: int, d: int) -> Tensor:
    """Anywhere between -2 and 2."""
    return 4 * torch.special.ndtr(normal(n, d, seed=1)) - 2


class Skewed:
    """`|L' (z - c)|^2 + |z - c|_4^4 / 10` for each sample: convex, with `c` mostly outside of the unit sets."""

    def __init__(self, n: int, d: int) -> None:
        square = normal(n, d, d, seed=2)
        self.root = torch.linalg.cholesky(square @ square.mT / d + 0.3 * torch.eye(d, dtype=torch.float64))
        self.centre = 2 * normal(n, d, seed=3)

    @property
    def given(self) -> tuple[Tensor, Tensor]:
        return self.root, self.centre

    @SumOfSquares
    @staticmethod
    def energy(z: Tensor, root: Tensor, centre: Tensor) -> Tensor:
        offset = z - centre
        return torch.cat([(root.mT @ offset[..., None])[..., 0], 0.1**0.5 * offset.square()], -1)


SETS = {
    "box": Box(-0.5, 0.5),
    "simplex": Simplex(),
    "ball": Ball(),
    "sphere": Sphere(),
}
EQUATIONS = {
    "box": (),
    "simplex": ({"type": "eq", "fun": lambda z: z.sum() - 1},),
    "ball": ({"type": "ineq", "fun": lambda z: 1 - z @ z},),
    "sphere": ({"type": "eq", "fun": lambda z: z @ z - 1},),
}
BOUNDS = {"box": (-0.5, 0.5), "simplex": (0, None)}


def check_constrained(solver, name: str, n: int = 24, d: int = 5) -> None:
    """The solver finds what SciPy's SLSQP finds, from the middle of the set."""
    fn, start = Skewed(n, d), torch.full((n, d), d**-0.5 if name == "sphere" else 1 / d, dtype=torch.float64)
    answer = minimize(fn.energy, start, solver, given=fn.given, within=SETS[name])
    assert answer.converged.all(), answer.summary()
    for i in range(n):
        bounds = [BOUNDS[name]] * d if name in BOUNDS else None
        found = by_scipy(
            lambda z, i=i: fn.energy(z, *(part[i : i + 1] for part in fn.given)),
            start[i],
            "SLSQP",
            bounds,
            EQUATIONS[name],
        )
        # A curvature of 0.3 or more, where SLSQP stops at changes of 1e-15 in an energy that is flat there.
        torch.testing.assert_close(answer.z[i], torch.from_numpy(found.x), atol=1e-5, rtol=0)


def by_scipy(fn, start: Tensor, method: str, bounds=None, constraints=(), hess=None, tolerance: float = 1e-4):
    """SciPy's answer for one sample, until no component of the gradient is above the tolerance."""

    def both(z: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.from_numpy(z[None].copy()).requires_grad_()
        energy = fn(point).sum()
        (gradient,) = torch.autograd.grad(energy, point)
        return energy.item(), gradient[0].numpy()

    options = {"ftol": 1e-15} if method == "SLSQP" else {"gtol": tolerance}
    return scipy_minimize(
        both,
        start.numpy(),
        jac=True,
        hess=hess,
        method=method,
        bounds=bounds,
        constraints=constraints,
        options={**options, "maxiter": 5000},
    )


def walk(solver, fn, z: Tensor, steps: int, **settings):
    """Each point and memory that the solver comes to."""
    problem, z = pose(fn, z, **settings)
    point = problem(z)
    state = solver.init(problem, point)
    for _ in range(steps):
        yield point, state
        point, state = solver.step(problem, point, state)
