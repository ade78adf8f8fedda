from itertools import pairwise

import pytest
import torch
from classics import SETS, by_scipy, check_constrained, rosenbrock, starts, walk
from conftest import normal
from hypothesis import given, settings
from hypothesis import strategies as st

from ebm import NonlinearConjugateGradients, Unrolled, minimize
from ebm.linear import conjugate_gradients


def quadratic(n, d, seed=0):
    """`z'Az / 2 - b'z` with eigenvalues of A between 0.1 and 1, and A and b."""
    axes, _ = torch.linalg.qr(normal(n, d, d, seed=seed))
    curvatures = 0.1 + 0.9 * torch.sigmoid(normal(n, d, seed=seed + 1))
    matrix, b = axes @ curvatures.diag_embed() @ axes.mT, normal(n, d, seed=seed + 2)
    return lambda z: ((matrix @ z[..., None])[..., 0] * z / 2 - b * z).sum(-1), matrix, b


@given(d=st.integers(1, 8), seed=st.integers(0, 2**16))
@settings(max_examples=10)
def test_with_exact_searches_a_quadratic_takes_two_evaluations_for_each_dimension(d, seed):
    fn, matrix, b = quadratic(3, d, seed)
    exact = NonlinearConjugateGradients(flatness=1e-6, tolerance=1e-8)
    answer = minimize(fn, torch.zeros(3, d, dtype=torch.float64), exact)
    assert answer.converged.all()
    # A line takes a trial and the secant from it to its exact minimum; one more line may be needed after rounding.
    assert answer.steps.max() <= 2 * d + 2
    torch.testing.assert_close(answer.z, torch.linalg.solve(matrix, b), atol=1e-7 * d**0.5, rtol=0)  # curvature of 0.1


def test_with_exact_searches_the_lines_end_where_linear_conjugate_gradients_step():
    fn, matrix, b = quadratic(1, 6)
    exact = NonlinearConjugateGradients(flatness=1e-6)
    steps = list(walk(exact, fn, torch.zeros(1, 6, dtype=torch.float64), steps=10))
    ends = [after.z for (_, old), (after, new) in pairwise(steps) if not torch.equal(old.slope, new.slope)]
    assert len(ends) >= 4
    for k, z in enumerate(ends[:4], 1):
        linear = conjugate_gradients(lambda v: (matrix @ v[..., None])[..., 0], b, 0.0, k).w
        # Secants of a quadratic are exact up to rounding, which grows from line to line.
        torch.testing.assert_close(z, linear, atol=1e-8, rtol=1e-8)


def test_the_next_line_is_that_of_hager_and_zhang():
    checked = 0
    for (_, old), (after, new) in pairwise(walk(NonlinearConjugateGradients(), rosenbrock, starts(4, 5), steps=60)):
        for i in torch.nonzero((new.slope != old.slope).any(-1)).flatten():
            g, before, d = after.gradient[i], old.slope[i], old.direction[i]
            d = d if d @ before < 0 else -d
            y = g - before
            weight = (y - 2 * d * y.square().sum() / (d @ y)) @ g / (d @ y)  # equation 1.3
            weight = torch.maximum(weight, -1 / (d.norm() * before.norm().clamp_max(0.01)))  # 1.5 and 1.6
            expected = weight * d - g
            # Some products of numbers up to 1e4.
            torch.testing.assert_close(new.direction[i], expected, rtol=1e-9, atol=1e-9)
            checked += 1
    assert checked > 20


def test_its_directions_lead_down_and_energies_fall():
    steps = list(walk(NonlinearConjugateGradients(), rosenbrock, starts(6, 4), steps=60))
    for (before, memory), (after, _) in pairwise(steps):
        assert ((memory.direction * before.gradient).sum(-1) < 0).all()
        assert (after.energy <= before.energy * (1 + 1e-14)).all()  # rounding


def test_a_refused_step_is_tried_again_at_half_its_length():
    refusals = 0
    for (point, memory), (after, then) in pairwise(walk(NonlinearConjugateGradients(), rosenbrock, starts(6, 4), 40)):
        refused = (after.z == point.z).all(-1)
        assert torch.equal(then.length[refused], memory.length[refused] / 2)
        assert torch.equal(then.direction[refused], memory.direction[refused])
        refusals += int(refused.sum())
    assert refusals > 5


def test_it_takes_no_more_evaluations_than_the_conjugate_gradients_of_scipy():
    start = starts(8, 10)
    answer = minimize(rosenbrock, start, NonlinearConjugateGradients())
    assert answer.converged.all()
    scipys = [by_scipy(rosenbrock, z, "CG").nfev for z in start]
    assert answer.evaluations.sum() <= sum(scipys)


@pytest.mark.parametrize("name", SETS)
def test_it_finds_the_minimum_in_a_set(name):
    check_constrained(NonlinearConjugateGradients(tolerance=1e-6), name)


def test_negative_curvature_does_not_stop_it():
    # A double well started on its hump, where the curvature is negative.
    solver = NonlinearConjugateGradients(tolerance=1e-8)
    answer = minimize(lambda z: (z.square() - 1).square().sum(-1), 0.1 * normal(5, 2), solver)
    assert answer.converged.all()
    # A curvature of 8 at the wells.
    torch.testing.assert_close(answer.z.abs(), torch.ones(5, 2, dtype=torch.float64), atol=1e-8, rtol=0)


def test_a_step_too_short_to_change_z_starts_again_down_the_slope():
    # Single precision cannot tell points nearer than 6e-8 to 1 from it, and this valley is as narrow.
    answer = minimize(rosenbrock, starts(32, 10).float(), NonlinearConjugateGradients())
    # One in a hundred has a gradient above 1e-4 wherever its coordinates are rounded.
    assert answer.converged.sum() >= 31


def test_the_derivative_through_its_steps_is_that_of_the_minimum():
    target = normal(4, 3).requires_grad_()
    curvatures = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    answer = minimize(
        lambda z: (curvatures * (z - target).square()).sum(-1),
        torch.zeros(4, 3, dtype=torch.float64),
        NonlinearConjugateGradients(tolerance=1e-10),
        adjoint=Unrolled(),
    )
    (derivative,) = torch.autograd.grad(answer.z.sum(), target)
    # The minimum is the target itself; the derivative of an iterate lags behind it.
    torch.testing.assert_close(derivative, torch.ones(4, 3, dtype=torch.float64), atol=1e-5, rtol=0)
