from itertools import pairwise

import pytest
import torch
from classics import SETS, by_scipy, check_constrained, rosenbrock, starts, walk
from conftest import normal
from scipy.optimize import rosen_hess

from ebm import Box, Newton, Status, Unrolled, minimize
from ebm.minimize import pose
from ebm.solvers.newton import hessian


def quadratic(n, d):
    """`z'Az / 2 - b'z` and where it is least."""
    square = normal(n, d, d)
    matrix, b = square @ square.mT + torch.eye(d, dtype=torch.float64), normal(n, d, seed=1)
    return lambda z: ((matrix @ z[..., None])[..., 0] * z / 2 - b * z).sum(-1), torch.linalg.solve(matrix, b)


def test_undamped_it_is_at_the_minimum_of_a_quadratic_in_one_step():
    fn, minimum = quadratic(5, 4)
    answer = minimize(fn, normal(5, 4, seed=2), Newton(damping=0.0, tolerance=1e-10))
    assert answer.steps.tolist() == [1] * 5
    # One linear solve, of condition up to 1e2.
    torch.testing.assert_close(answer.z, minimum, atol=1e-12, rtol=1e-12)


def test_it_squares_the_error_from_step_to_step_near_a_minimum():
    # z - log z has its minimum at 1, where undamped steps are exactly z <- 2 z - z^2.
    errors = [
        (point.z - 1).abs().item()
        for point, _ in walk(Newton(damping=0.0), lambda z: (z - z.log()).sum(-1), torch.tensor([[0.5]]).double(), 6)
    ]
    # Down to the rounding of a number near 1.
    assert errors == pytest.approx([0.5 ** (2**k) for k in range(6)], abs=1e-15)


def test_its_matrix_is_the_hessian_that_scipy_writes_out():
    z = starts(4, 5)
    problem, rows = pose(rosenbrock, z)
    expected = torch.stack([torch.from_numpy(rosen_hess(row.numpy())) for row in z])
    # Sums of a few products of numbers up to 1e3.
    torch.testing.assert_close(hessian(problem, rows), expected, atol=1e-10, rtol=1e-12)
    with torch.inference_mode():
        torch.testing.assert_close(hessian(problem, rows), expected, atol=1e-10, rtol=1e-12)


class Cube(torch.autograd.Function):
    """`z^3`, whose derivative cannot be batched since it looks at numbers."""

    @staticmethod
    def forward(ctx, z):
        ctx.save_for_backward(z)
        return z**3

    @staticmethod
    def backward(ctx, weights):
        (z,) = ctx.saved_tensors
        assert weights.sum().item() is not None
        return 3 * z.square() * weights


def test_where_a_derivative_cannot_be_batched_the_hessian_is_taken_column_by_column():
    problem, z = pose(lambda z: Cube.apply(z).sum(-1), normal(4, 3))
    torch.testing.assert_close(hessian(problem, z), (6 * z).diag_embed())  # one product


def test_the_hessian_of_a_linear_energy_is_zero_and_a_box_stops_the_steps():
    slope = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    answer = minimize(
        lambda z: (z * slope).sum(-1), torch.zeros(2, 3, dtype=torch.float64), Newton(), within=Box(-1, 1)
    )
    assert answer.converged.all()
    assert torch.equal(answer.z, -slope.sign().expand(2, 3))


def test_from_near_a_saddle_it_goes_down_to_a_minimum():
    # A saddle at 0 between the minima at z1 = 1 and -1.
    start = torch.tensor([[1.0, 1e-3], [-2.0, -1e-3], [0.5, 0.3]], dtype=torch.float64)
    answer = minimize(lambda z: z[:, 0].square() + (z[:, 1].square() - 1).square(), start, Newton(tolerance=1e-8))
    assert answer.converged.all()
    expected = torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.0, 1.0]], dtype=torch.float64)
    # Curvatures of 2 and 8.
    torch.testing.assert_close(answer.z, expected, atol=1e-8, rtol=0)


def test_a_start_at_a_saddle_itself_has_no_slope_and_ends_there():
    answer = minimize(lambda z: z[:, 0].square() - z[:, 1].square(), torch.zeros(1, 2), Newton())
    assert answer.steps.item() == 0
    assert answer.status.item() == Status.CONVERGED


def test_every_step_that_it_takes_lowers_the_energy():
    steps = list(walk(Newton(), rosenbrock, starts(8, 6), steps=40))
    energies = torch.stack([point.energy for point, _ in steps])
    assert (energies.diff(dim=0) <= 1e-14 * energies[:-1]).all()  # rounding
    assert (energies[-1] < 1e-2 * energies[0]).all()


def test_a_refused_step_is_damped_more_and_a_good_one_less():
    steps = list(walk(Newton(), rosenbrock, starts(8, 6), steps=40))
    refusals, eased = 0, 0
    for (point, model), (after, then) in pairwise(steps):
        refused = (after.z == point.z).all(-1)
        assert (then.damping > model.damping)[refused].all()
        assert torch.equal(then.curvature[refused], model.curvature[refused])
        refusals += int(refused.sum())
        eased += int((then.damping < model.damping)[~refused].sum())
    assert refusals > 5
    assert eased > 50


def test_it_takes_no_more_steps_than_the_trust_region_newton_of_scipy():
    start = starts(8, 10)
    answer = minimize(rosenbrock, start, Newton())
    assert answer.converged.all()
    scipys = [by_scipy(rosenbrock, z, "trust-exact", hess=lambda z: rosen_hess(z)).nfev for z in start]
    # Both refuse some trials; SciPy solves for its radius exactly.
    assert answer.steps.sum() <= 1.1 * sum(scipys)


def test_a_step_counts_the_columns_of_its_hessian():
    answer = minimize(rosenbrock, starts(3, 4), Newton())
    assert torch.equal(answer.evaluations, (answer.steps + 1) * 5)


@pytest.mark.parametrize("name", SETS)
def test_it_finds_the_minimum_in_a_set(name):
    check_constrained(Newton(tolerance=1e-6), name)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_its_steps_do_not_depend_on_the_scale_of_the_energy(scale):
    plain = [point.z for point, _ in walk(Newton(), rosenbrock, starts(4, 5), 10)]
    scaled = [point.z for point, _ in walk(Newton(), lambda z: scale * rosenbrock(z), starts(4, 5), 10)]
    # A thousand is no power of two; ten linear solves of condition up to 1e4.
    torch.testing.assert_close(torch.stack(plain), torch.stack(scaled), atol=1e-8, rtol=1e-8)


def test_a_curvature_that_is_not_finite_is_left_out():
    # The gradient at 0 is 0, the curvature of |z|^1.5 there infinite.
    fn = lambda z: (z[:, 0] - 1).square() + z[:, 1].abs().pow(1.5)  # noqa: E731
    answer = minimize(fn, torch.zeros(1, 2, dtype=torch.float64), Newton())
    assert answer.converged.all()
    # A curvature of 2.
    torch.testing.assert_close(answer.z, torch.tensor([[1.0, 0.0]], dtype=torch.float64), atol=1e-4, rtol=0)


def test_the_derivative_through_its_steps_is_that_of_the_minimum():
    target = normal(4, 3).requires_grad_()
    answer = minimize(
        lambda z: ((z - target).square() + (z - target).pow(4) + z.square()).sum(-1),
        torch.zeros(4, 3, dtype=torch.float64),
        Newton(tolerance=1e-10),
        adjoint=Unrolled(),
    )
    (derivative,) = torch.autograd.grad(answer.z.sum(), target)
    bend = 2 + 12 * (answer.z - target).detach().square()
    # The implicit function theorem; what earlier steps leave behind falls off as the last errors do.
    torch.testing.assert_close(derivative, bend / (bend + 2), atol=1e-5, rtol=0)
