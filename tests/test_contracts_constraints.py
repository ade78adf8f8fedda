"""What holds for every solver under every constraint, both found by listing their folders."""

from functools import cache

import numpy as np
import pytest
import scipy.optimize
import torch
from conftest import every, normal
from test_constraints import ALL, assert_inside

from ebm import Adam, SumOfSquares, minimize
from ebm.constraints import Ball, Box, NonNegative, Simplex, Sphere
from ebm.solvers import Enumeration, Solver

D = 4
# A choice is one-hot, and refuses a constraint that does not let it be.
SOLVERS = [solver for solver in every("ebm.solvers", Solver) if solver.id != "CategoricalCrossEntropy"]
kinds = pytest.mark.parametrize("kind", SOLVERS)
gradient_kinds = pytest.mark.parametrize(
    "kind", [kind for kind in every("ebm.solvers", Solver) if not kind.values[0].gradient_free]
)
names = pytest.mark.parametrize("name", ALL)


class Bowl(SumOfSquares):
    """`(z - c)' A (z - c) / 2`, the eigenvalues of `A` between 1 and 4 and `c` outside of the sets; it notes each z."""

    def __init__(self, n, dtype=torch.float64):
        axes, _ = torch.linalg.qr(normal(n, D, D, seed=3))
        curvatures = 1 + 3 * torch.sigmoid(normal(n, D, seed=4))
        self.root = ((curvatures / 2).sqrt()[..., None] * axes.mT).to(dtype)
        # Far enough out for a sphere to have one minimum only: further than the curvatures differ.
        self.centre = 6 * torch.nn.functional.normalize(normal(n, D, seed=5), dim=-1).to(dtype)
        self.seen = []

    def residuals(self, z, rows):
        self.seen.append(z.detach().clone())
        return (self.root[rows] @ (z - self.centre[rows])[..., None])[..., 0]


def make(kind, constraint, **settings):
    """A solver, with something to choose from where it needs that."""
    return kind(constraint.project(normal(9, D, seed=7))) if kind is Enumeration else kind(**settings)


@kinds
@names
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_point_that_is_evaluated_is_inside_and_so_is_the_answer(kind, name, dtype):
    constraint, fn = ALL[name](D), Bowl(3, dtype)
    start = 3 * normal(3, D, seed=6, dtype=dtype)  # which is outside itself
    answer = minimize(fn, start, make(kind, constraint, steps=20), given=(torch.arange(3),), within=constraint)
    assert len(fn.seen) > 3
    for z in fn.seen:
        assert_inside(constraint, z)
    assert_inside(constraint, answer.z)


@kinds
@pytest.mark.parametrize("name", ["box of tensors", "simplex", "sphere", "ball"])
def test_restarts_and_the_steps_that_overshoot_stay_inside(kind, name):
    constraint, fn = ALL[name](D), Bowl(3)
    fn.root = 30 * fn.root  # so that gradients are a thousand times as long
    solver = make(kind, constraint, steps=5)
    answer = minimize(fn, fn.centre, solver, given=(torch.arange(3),), within=constraint, restarts=3)
    for z in [*fn.seen, answer.z, *answer.starts.z]:
        assert_inside(constraint, z)


def described(constraint):
    """The set as SciPy is told of it: bounds, and equations or inequalities."""
    match constraint:
        case Box(lower, upper):
            return {"bounds": list(zip(*(torch.as_tensor(b).expand(D).tolist() for b in (lower, upper)), strict=True))}
        case NonNegative():
            return {"bounds": [(0, None)] * D}
        case Simplex(total):
            return {
                "bounds": [(0, None)] * D,
                "constraints": {"type": "eq", "fun": lambda z: z.sum() - total, "jac": np.ones_like},
            }
        case Sphere(radius):
            return {"constraints": {"type": "eq", "fun": lambda z: z @ z - radius**2, "jac": lambda z: 2 * z}}
        case Ball(radius):
            return {"constraints": {"type": "ineq", "fun": lambda z: radius**2 - z @ z, "jac": lambda z: -2 * z}}


@cache
def minima_by_slsqp(name):
    """The minima `(3, D)` of `Bowl(3)` in a set by sequential quadratic programming, each from inside it."""
    constraint, fn = ALL[name](D), Bowl(3)
    found = []
    for root, centre in zip(fn.root.numpy(), fn.centre, strict=True):
        matrix = 2 * root.T @ root
        c = centre.numpy()
        found.append(
            scipy.optimize.minimize(
                lambda z, a=matrix, c=c: (z - c) @ a @ (z - c) / 2,
                constraint.project(centre[None])[0].numpy(),
                jac=lambda z, a=matrix, c=c: a @ (z - c),
                method="SLSQP",
                options={"ftol": 1e-15, "maxiter": 500},
                **described(constraint),
            ).x
        )
    return torch.from_numpy(np.stack(found))


def converging(kind, tolerance):
    """A solver with a fixed rate has one that is small for the curvature of the boundary, a gradient of 12 over 0.3."""
    slow = {"GradientDescent": {"rate": 0.02}, "Adam": {"rate": 0.05, "steps": 500}}
    return kind(tolerance=tolerance, **slow.get(kind.__name__, {}))


@gradient_kinds
@names
def test_a_solver_that_follows_gradients_finds_the_minimum_of_slsqp(kind, name):
    constraint, fn, start = ALL[name](D), Bowl(3), normal(3, D, seed=6)
    answer = minimize(fn, start, converging(kind, 1e-6), given=(torch.arange(3),), within=constraint)
    if kind is Adam:  # whose steps hardly shrink: it need not converge, and then must not say so
        torch.testing.assert_close(answer.z, minima_by_slsqp(name), atol=1e-3, rtol=0)
        return
    answer.raise_if_failed()
    # A projected gradient of 1e-6 over a curvature of at least 1; what SLSQP leaves is about 1e-7.
    torch.testing.assert_close(answer.z, minima_by_slsqp(name), atol=1e-5, rtol=0)


@names
def test_those_minima_are_held_by_their_sets(name):
    held = (minima_by_slsqp(name) - Bowl(3).centre).abs().amax(-1)
    assert (held > 0.1).all()


@gradient_kinds
@names
def test_what_counts_as_converged_does_not_move_by_projected_descent(kind, name):
    constraint, fn, start = ALL[name](D), Bowl(3), normal(3, D, seed=6)
    answer = minimize(fn, start, converging(kind, 1e-4), given=(torch.arange(3),), within=constraint)
    assert answer.converged.any() or kind is Adam
    z = answer.z.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(fn(z, torch.arange(3)).sum(), z)
    moved = (constraint.project(z - 1e-3 * gradient) - z).norm(dim=-1)
    # By no more than the step along a projected gradient of 1e-4 in each of four coordinates; twice that for the bend
    # of a sphere.
    assert (moved[answer.converged] <= 2 * 1e-3 * 2e-4 + 1e-13).all()


@pytest.mark.parametrize("constraint", [Sphere(), Simplex()], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_what_a_step_leaves_at_the_edge_of_the_slack_is_inside_or_moved(constraint, dtype):
    inside = constraint.project(normal(200, D).abs().to(dtype))
    for roundings in range(26, 40):
        assert_inside(constraint, constraint.project(inside * (1 + roundings * torch.finfo(dtype).eps)))
