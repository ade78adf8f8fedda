from itertools import pairwise

import pytest
import torch
from classics import SETS, by_scipy, check_constrained, rosenbrock, starts, walk
from conftest import normal

from ebm import BFGS, LBFGS, Unrolled, minimize


def updated(inverse, move, change, fresh):
    """BFGS by its definition, after the scaling."""
    curvature = move @ change
    scale = curvature / (change @ inverse @ change)
    inverse = inverse * (scale if fresh else scale.clamp_min(1))
    left = torch.eye(len(move), dtype=move.dtype) - torch.outer(move, change) / curvature
    return left @ inverse @ left.T + torch.outer(move, move) / curvature


def test_its_matrix_is_that_of_the_update_written_out():
    steps, checked = list(walk(BFGS(), rosenbrock, starts(3, 4), steps=25)), 0
    for (before, old), (after, new) in pairwise(steps):
        for i in torch.nonzero((new.inverse != old.inverse).any(-1).any(-1)).flatten():
            move, change = after.z[i] - before.z[i], after.gradient[i] - before.gradient[i]
            expected = updated(old.inverse[i], move, change, bool(old.fresh[i]))
            # Two orders of the same sums, of matrices of condition up to 1e4.
            torch.testing.assert_close(new.inverse[i], expected, rtol=1e-9, atol=1e-10)
            checked += 1
    assert checked > 20


def test_its_matrix_maps_the_last_change_of_gradient_to_the_last_move_and_is_positive():
    steps = list(walk(BFGS(), rosenbrock, starts(3, 4), steps=25))
    for (before, old), (after, new) in pairwise(steps):
        learnt = (new.inverse != old.inverse).any(-1).any(-1)
        mapped = (new.inverse @ (after.gradient - before.gradient)[..., None])[..., 0]
        # The secant equation, in products of numbers up to 1e3.
        torch.testing.assert_close(mapped[learnt], (after.z - before.z)[learnt], rtol=1e-7, atol=1e-10)
        assert (torch.linalg.eigvalsh(new.inverse) > 0).all()


def test_its_matrix_becomes_the_inverse_hessian_of_a_quadratic():
    axes, _ = torch.linalg.qr(normal(5, 5))
    hessian = axes @ torch.tensor([0.5, 1.0, 2.0, 3.0, 8.0], dtype=torch.float64).diag() @ axes.T
    *_, (_, memory) = walk(BFGS(), lambda z: (z * (z @ hessian)).sum(-1) / 2, normal(3, 5), steps=40)
    # It converges to it as the iterates do, which are at rounding by then.
    torch.testing.assert_close(memory.inverse, torch.linalg.inv(hessian).expand(3, 5, 5), rtol=1e-2, atol=1e-3)


def test_its_first_direction_is_the_slope_and_its_first_step_no_longer_than_one():
    (before, memory), (after, _) = walk(BFGS(), rosenbrock, starts(5, 4), steps=2)
    assert torch.equal(memory.direction, -before.gradient)
    assert (after.z - before.z).abs().sum(-1).max() <= 1 + 1e-12  # rounding


def test_it_takes_no_more_evaluations_than_the_bfgs_of_scipy():
    start = starts(8, 10)
    answer = minimize(rosenbrock, start, BFGS())
    assert answer.converged.all()
    scipys = [by_scipy(rosenbrock, z, "BFGS").nfev for z in start]
    assert answer.evaluations.sum() <= sum(scipys)


def test_it_takes_fewer_evaluations_than_lbfgs_with_a_short_history():
    start = starts(16, 10)
    bfgs, lbfgs = minimize(rosenbrock, start, BFGS()), minimize(rosenbrock, start, LBFGS(history=3))
    assert bfgs.evaluations.sum() < lbfgs.evaluations.sum()


@pytest.mark.parametrize("name", SETS)
def test_it_finds_the_minimum_in_a_set(name):
    check_constrained(BFGS(tolerance=1e-6), name)


def test_negative_curvature_is_not_remembered_and_does_not_stop_it():
    # A double well started on its hump, where the curvature is negative.
    answer = minimize(lambda z: (z.square() - 1).square().sum(-1), 0.1 * normal(5, 2), BFGS(tolerance=1e-8))
    assert answer.converged.all()
    # A curvature of 8 at the wells.
    torch.testing.assert_close(answer.z.abs(), torch.ones(5, 2, dtype=torch.float64), atol=1e-8, rtol=0)


def test_the_derivative_through_its_steps_is_that_of_the_minimum():
    target = normal(4, 3).requires_grad_()
    curvatures = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    answer = minimize(
        lambda z: (curvatures * (z - target).square()).sum(-1),
        torch.zeros(4, 3, dtype=torch.float64),
        BFGS(tolerance=1e-10),
        adjoint=Unrolled(),
    )
    (derivative,) = torch.autograd.grad(answer.z.sum(), target)
    # The minimum is the target itself; the derivative of an iterate lags behind it.
    torch.testing.assert_close(derivative, torch.ones(4, 3, dtype=torch.float64), atol=1e-5, rtol=0)
