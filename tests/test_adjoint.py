import pytest
import torch
from conftest import every, normal

from ebm import Detached, GradientDescent, Unrolled, minimize
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
        return (1 + (z - c).square()).sqrt().sum(-1) + z.square().sum(-1)

    c, start = normal(4, 3).requires_grad_(), torch.zeros(4, 3, dtype=torch.float64)
    detached, unrolled = (
        torch.autograd.grad(minimize(fn, start, kind(), adjoint=adjoint).energy.sum(), c)[0]
        for adjoint in (Detached(), Unrolled())
    )
    # They differ by dE/dz, at most the tolerance of 1e-4, times dz/dc, which is below 1 here.
    torch.testing.assert_close(unrolled, detached, atol=1e-4, rtol=0)


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


@solvers
def test_unrolling_to_the_minimum_gives_the_derivative_of_the_closed_form_minimum(kind):
    # argmin_z |y - A z|^2 + l |z|^2 = (A'A + l)^-1 A'y
    matrix, y, strength = (0.5 * normal(5, 3)).requires_grad_(), normal(4, 5, seed=1), 0.5
    gram = matrix.T @ matrix + strength * torch.eye(3, dtype=torch.float64)
    closed_form = torch.linalg.solve(gram, matrix.T @ y.T).T

    def fn(z):
        return (y - z @ matrix.T).square().sum(-1) + strength * z.square().sum(-1)

    answer = minimize(fn, torch.zeros_like(closed_form), kind(tolerance=1e-9), adjoint=Unrolled())
    weights = normal(4, 3, seed=2)
    assert answer.converged.all()
    unrolled, exact = (torch.autograd.grad((z * weights).sum(), matrix)[0] for z in (answer.z, closed_form))
    # The share r^k of the start that k steps leave in z has the derivative k r^(k-1): 1e-9 times at most 500 steps,
    # summed over four samples.
    torch.testing.assert_close(unrolled, exact, atol=2e-6, rtol=0)


@solvers
def test_samples_that_have_converged_add_nothing_to_the_gradient_while_others_go_on(kind):
    minimum = normal(3, 2).requires_grad_()
    start = minimum.detach().clone()
    start[1] += 1
    answer = minimize(quadratic(minimum), start, kind(), adjoint=Unrolled())
    (gradient,) = torch.autograd.grad(answer.z.sum(), minimum)
    assert answer.steps[[0, 2]].tolist() == [0, 0]
    assert not gradient[[0, 2]].any()
    # The one that went on ends at its minimum, and follows it: Adam's own steps remember where they came from.
    torch.testing.assert_close(gradient[1], torch.ones(2, dtype=torch.float64), atol=0.05, rtol=0)


def test_unrolled_records_the_way_to_the_answer_and_detached_does_not():
    start = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    solver = GradientDescent(steps=3, tolerance=0.0)
    assert minimize(quadratic(normal(3, 2)), start, solver, adjoint=Unrolled()).z.requires_grad
    assert not minimize(quadratic(normal(3, 2)), start, solver, adjoint=Detached()).energy.requires_grad
