import pytest
import torch
from conftest import every, normal

from ebm import LBFGS, Detached, GradientDescent, Unrolled, minimize
from ebm.solvers import Solver

solvers = pytest.mark.parametrize("kind", every("ebm.solvers", Solver))


def quadratic(minimum, curvature=2.0):
    return lambda z: (curvature * (z - minimum).square()).sum(-1) / 2


@solvers
def test_a_detached_answer_carries_no_gradient(kind):
    minimum = normal(3, 2).requires_grad_()
    start = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    answer = minimize(quadratic(minimum), start, kind(), adjoint=Detached())
    assert not answer.z.requires_grad
    assert not answer.gradient_norm.requires_grad


def test_detached_is_what_one_gets_without_asking():
    answer = minimize(quadratic(normal(3, 2).requires_grad_()), torch.zeros(3, 2, dtype=torch.float64))
    assert not answer.z.requires_grad


@solvers
def test_the_energy_of_a_detached_answer_has_the_gradient_of_the_minimum(kind):
    # min_z |z - c|^2 + |z|^2 = |c|^2 / 2, whose gradient is c: the envelope theorem, with no derivative of z.
    c = normal(4, 3).requires_grad_()
    start = torch.zeros(4, 3, dtype=torch.float64)
    answer = minimize(lambda z: (z - c).square().sum(-1) + z.square().sum(-1), start, kind(tolerance=1e-7))
    (gradient,) = torch.autograd.grad(answer.energy.sum(), c)
    # The gradient is 2 (c - z), so off by twice the distance of z from its minimum: half of 1e-7.
    torch.testing.assert_close(gradient, c.detach(), atol=2e-7, rtol=0)


@solvers
def test_detached_and_unrolled_agree_on_the_gradient_of_the_minimum(kind):
    def fn(z):
        return (z - c).pow(4).sum(-1) + z.square().sum(-1)

    c = normal(4, 3).requires_grad_()
    start, solver = torch.zeros(4, 3, dtype=torch.float64), kind(rate=0.02) if hasattr(kind, "rate") else kind()
    detached, unrolled = (
        torch.autograd.grad(minimize(fn, start, solver, adjoint=adjoint).energy.sum(), c)[0]
        for adjoint in (Detached(), Unrolled())
    )
    # They differ by dE/dz, below the tolerance of 1e-4, times dz/dc, below 2 here in any of 3 coordinates.
    torch.testing.assert_close(unrolled, detached, atol=6e-4, rtol=0)


def test_unrolled_gradient_descent_has_the_derivative_of_its_closed_form():
    # On curvature k / 2 (z - c)^2, n steps leave the share (1 - rate k)^n of the start: z = c + share (z0 - c).
    c, curvature, rate, steps = normal(4, 3).requires_grad_(), 2.0, 0.1, 7
    start = normal(4, 3, seed=1).requires_grad_()
    solver = GradientDescent(rate=rate, steps=steps, tolerance=0.0)
    answer = minimize(quadratic(c, curvature), start, solver, adjoint=Unrolled())
    share = (1 - rate * curvature) ** steps
    by_minimum, by_start = torch.autograd.grad(answer.z.sum(), (c, start))
    # Seven products of double precision.
    torch.testing.assert_close(answer.z, c + share * (start - c), atol=1e-14, rtol=1e-14)
    torch.testing.assert_close(by_start, torch.full_like(start, share), atol=1e-14, rtol=1e-14)
    torch.testing.assert_close(by_minimum, torch.full_like(c, 1 - share), atol=1e-14, rtol=1e-14)


@pytest.mark.parametrize("solver", [GradientDescent(rate=0.2, tolerance=1e-9), LBFGS(tolerance=1e-9)], ids=repr)
def test_unrolling_to_the_minimum_gives_the_derivative_of_the_closed_form_minimum(solver):
    # argmin_z |y - A z|^2 + l |z|^2 = (A'A + l)^-1 A'y
    matrix, y = (0.5 * normal(5, 3)).requires_grad_(), normal(4, 5, seed=1)
    closed_form = y @ matrix @ torch.linalg.inv(matrix.T @ matrix + 0.5 * torch.eye(3, dtype=torch.float64))

    def fn(z):
        return (y - z @ matrix.T).square().sum(-1) + 0.5 * z.square().sum(-1)

    answer = minimize(fn, torch.zeros(4, 3, dtype=torch.float64), solver, adjoint=Unrolled())
    weights = normal(4, 3, seed=2)
    assert answer.converged.all()
    unrolled, exact = (torch.autograd.grad((z * weights).sum(), matrix)[0] for z in (answer.z, closed_form))
    # Where z is within 1e-9 of its minimum its derivative is behind by the number of steps, below 200, times that;
    # that of L-BFGS, which learns the curvature on the way, by the root of it at worst.
    torch.testing.assert_close(unrolled, exact, atol=1e-4 if isinstance(solver, LBFGS) else 1e-6, rtol=0)


@solvers
def test_unrolling_is_finite_where_some_samples_have_nothing_left_to_do(kind):
    minimum = normal(3, 2).requires_grad_()
    start = minimum.detach().clone()
    start[1, 0] += 1  # a sample at its minimum, and a coordinate without a slope, where roots and ratios have no derivative
    answer = minimize(quadratic(minimum), start, kind(), adjoint=Unrolled())
    (gradient,) = torch.autograd.grad(answer.z.sum(), minimum)
    assert answer.steps[0] == 0
    assert answer.steps[1] > 0
    assert gradient.isfinite().all()
    assert not gradient[[0, 2]].any()


@solvers
def test_a_sample_that_leaves_the_numbers_costs_the_gradients_of_the_others_nothing(kind):
    centre = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
    ill = torch.tensor([False, True, False])
    start = torch.zeros(3, 2, dtype=torch.float64)

    def fn(z):
        return (z - centre).square().sum(-1) + torch.where(ill, 0.5 - z[:, 0], 1.0).sqrt()

    answer = minimize(fn, start, kind(), adjoint=Unrolled())
    assert answer.status[~ill].tolist() == [1, 1]
    assert not answer.converged[1]
    (gradient,) = torch.autograd.grad(answer.z[~ill].sum(), centre)
    healthy = minimize(lambda z: (z - centre).square().sum(-1) + 1, start[~ill], kind(), adjoint=Unrolled())
    torch.testing.assert_close(gradient, torch.autograd.grad(healthy.z.sum(), centre)[0])


def test_unrolled_records_the_way_to_the_answer_and_detached_does_not():
    start = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    solver = GradientDescent(steps=3, tolerance=0.0)
    assert minimize(quadratic(normal(3, 2)), start, solver, adjoint=Unrolled()).z.requires_grad
    assert not minimize(quadratic(normal(3, 2)), start, solver, adjoint=Detached()).energy.requires_grad
