from itertools import pairwise

import numpy as np
import pytest
import torch
from classics import SETS, check_constrained, rosenbrock, starts, walk
from conftest import normal
from scipy.optimize import nnls

from ebm import L1, Ball, Box, GroupL1, NonNegative, ProjectedGradient, ProximalGradient, Unrolled, minimize


def test_each_step_is_the_projected_gradient_step_of_its_length():
    box = Box(-0.5, 1.2)
    for (point, memory), (after, _) in pairwise(
        walk(ProjectedGradient(), rosenbrock, starts(6, 4).clamp(-0.5, 1.2), steps=60, within=box)
    ):
        expected = (point.z - memory.length[:, None] * point.gradient).clamp(-0.5, 1.2)
        taken = (after.z != point.z).any(-1)
        assert torch.equal(after.z[taken], expected[taken])


def test_its_energy_falls_at_each_step_and_refused_lengths_are_cut():
    solver, refusals = ProjectedGradient(), 0
    for (point, memory), (after, then) in pairwise(walk(solver, rosenbrock, starts(6, 4), steps=60)):
        refused = (after.z == point.z).all(-1)
        fall = solver.decrease * (after.z - point.z).square().sum(-1) / memory.length
        assert (after.energy <= point.energy * (1 + 1e-14) - fall).all()  # rounding
        assert torch.equal(then.length, memory.length * torch.where(refused, solver.shrink, solver.grow))
        refusals += int(refused.sum())
    assert refusals > 5


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e6])
def test_it_needs_no_rate_however_steep_the_energy(scale):
    # The tolerance goes with the scale.
    solver = ProjectedGradient(tolerance=1e-6 * scale)
    answer = minimize(lambda z: scale * (z - 3).square().sum(-1), normal(5, 4), solver)
    assert answer.converged.all()
    torch.testing.assert_close(answer.z, torch.full_like(answer.z, 3), atol=1e-6, rtol=0)  # curvature of 2 scale


@pytest.mark.parametrize("name", SETS)
def test_it_finds_the_minimum_in_a_set(name):
    check_constrained(ProjectedGradient(tolerance=1e-6), name)


def test_it_solves_non_negative_least_squares_as_scipy_does():
    matrix, b = normal(4, 9, 5), normal(4, 9, seed=1)
    answer = minimize(
        lambda z: ((matrix @ z[..., None])[..., 0] - b).square().sum(-1),
        torch.ones(4, 5, dtype=torch.float64),
        ProjectedGradient(tolerance=1e-8),
        within=NonNegative(),
    )
    assert answer.converged.all()
    assert (answer.z == 0).any()
    expected = np.stack([nnls(a.numpy(), y.numpy())[0] for a, y in zip(matrix, b, strict=True)])
    # Least curvatures of about 1.
    torch.testing.assert_close(answer.z, torch.from_numpy(expected), atol=1e-7, rtol=0)


def test_the_point_of_a_ball_nearest_to_one_outside_is_its_direction():
    target = 3 * torch.nn.functional.normalize(normal(5, 4))
    answer = minimize(
        lambda z: (z - target).square().sum(-1), torch.zeros_like(target), ProjectedGradient(), within=Ball()
    )
    # A tolerance of 1e-4 over a curvature of 6 along the sphere.
    torch.testing.assert_close(answer.z, target / 3, atol=1e-4, rtol=0)


@pytest.mark.parametrize("penalty", [L1(0.3), GroupL1(0.5, 2)], ids=str)
def test_under_a_penalty_it_finds_what_proximal_gradient_does(penalty):
    matrix, b = normal(6, 5, 8), normal(6, 5, seed=1)

    def fn(z):
        return ((matrix @ z[..., None])[..., 0] - b).square().sum(-1) / 2

    start = torch.zeros(6, 8, dtype=torch.float64)
    searched, fixed = (
        minimize(fn, start, kind(tolerance=1e-7, steps=20000), penalty=penalty)
        for kind in (ProjectedGradient, ProximalGradient)
    )
    assert searched.converged.all()
    assert fixed.converged.all()
    # The square of the tolerance over the least curvature, of about 1e-2.
    torch.testing.assert_close(searched.energy, fixed.energy, atol=1e-10, rtol=0)


def test_the_closed_form_of_a_penalised_distance_is_the_soft_threshold():
    target = normal(5, 4)
    answer = minimize(
        lambda z: (z - target).square().sum(-1) / 2,
        torch.ones(5, 4, dtype=torch.float64),
        ProjectedGradient(tolerance=1e-8),
        penalty=L1(0.5),
    )
    expected = target.sign() * (target.abs() - 0.5).clamp_min(0)
    assert torch.equal(answer.z == 0, expected == 0)
    torch.testing.assert_close(answer.z, expected, atol=1e-8, rtol=0)  # a curvature of 1


def test_the_derivative_through_its_steps_is_that_of_the_minimum():
    target = normal(4, 3).requires_grad_()
    curvatures = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    answer = minimize(
        lambda z: (curvatures * (z - target).square()).sum(-1),
        torch.zeros(4, 3, dtype=torch.float64),
        ProjectedGradient(tolerance=1e-10),
        adjoint=Unrolled(),
    )
    (derivative,) = torch.autograd.grad(answer.z.sum(), target)
    # The minimum is the target itself; the derivative of an iterate lags behind it.
    torch.testing.assert_close(derivative, torch.ones(4, 3, dtype=torch.float64), atol=1e-5, rtol=0)
