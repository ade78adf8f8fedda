import pytest
import torch
from classics import SETS, check_constrained, rosenbrock, rosenbrock_residuals, starts, walk
from conftest import normal
from scipy.optimize import least_squares

from ebm import Energy, FreeEnergy, GaussNewton, SumOfSquares, Unrolled, minimize
from ebm.minimize import pose
from ebm.solvers.gauss_newton import residual_jacobian


def fitted(n, m, seed=0):
    """Decays `a exp(-b t)` at m times with noise, their residuals, and where to start from."""
    t = torch.linspace(0, 3, m, dtype=torch.float64)
    truth = torch.stack([1 + normal(n, seed=seed).square(), 0.5 + normal(n, seed=seed + 1).square()], -1)
    y = truth[:, :1] * (-truth[:, 1:] * t).exp() + 0.05 * normal(n, m, seed=seed + 2)
    return SumOfSquares(lambda z, y: z[:, :1] * (-z[:, 1:] * t).exp() - y), y, torch.ones(n, 2, dtype=torch.float64)


@pytest.mark.parametrize(("m", "d"), [(7, 3), (4, 4)])
def test_undamped_it_solves_linear_residuals_in_one_step(m, d):
    matrix, b = normal(5, m, d), normal(5, m, seed=1)
    fn = SumOfSquares(lambda z: (matrix @ z[..., None])[..., 0] - b)
    answer = minimize(fn, normal(5, d, seed=2), GaussNewton(damping=0.0, tolerance=1e-8))
    assert answer.steps.tolist() == [1] * 5
    # The normal equations square a condition of up to 1e3.
    torch.testing.assert_close(
        answer.z, torch.linalg.lstsq(matrix, b[..., None]).solution[..., 0], atol=1e-9, rtol=1e-9
    )


def test_with_fewer_residuals_than_features_it_fits_them_all():
    matrix, b = normal(3, 2, 6), normal(3, 2, seed=1)
    answer = minimize(
        SumOfSquares(lambda z: (matrix @ z[..., None])[..., 0] - b),
        torch.zeros(3, 6, dtype=torch.float64),
        GaussNewton(tolerance=1e-8),
    )
    assert answer.converged.all()
    assert answer.energy.max() < 1e-14  # the square of the tolerance, over a curvature of about 1
    assert torch.equal(answer.evaluations, (answer.steps + 1) * 3)


@pytest.mark.parametrize("m", [3, 5, 12])
def test_its_jacobian_is_that_of_each_sample_by_itself(m):
    weights, z = normal(5, m), normal(4, 5, seed=1)
    problem, rows = pose(SumOfSquares(lambda z: (z @ weights).tanh()), z)
    expected = (1 - (z @ weights).tanh().square())[..., None] * weights.T
    jacobian, products = residual_jacobian(problem, rows)
    # A few products of numbers near 1.
    torch.testing.assert_close(jacobian, expected, atol=1e-13, rtol=1e-13)
    assert products == min(m, 5)
    with torch.inference_mode():
        torch.testing.assert_close(residual_jacobian(problem, rows)[0], expected, atol=1e-13, rtol=1e-13)


def test_it_finds_what_the_least_squares_of_scipy_finds():
    fn, y, start = fitted(12, 20)
    answer = minimize(fn, start, GaussNewton(tolerance=1e-9), given=(y,))
    assert answer.converged.all()
    for i in range(12):
        scipys = least_squares(
            lambda z, i=i: fn.residuals(torch.from_numpy(z[None]), y[i : i + 1])[0].numpy(), start[i]
        )
        # SciPy stops where a step changes the energy by less than 1e-8 of it.
        torch.testing.assert_close(answer.z[i], torch.from_numpy(scipys.x), atol=1e-4, rtol=1e-4)


def test_it_takes_no_more_steps_than_twice_those_of_the_levenberg_marquardt_of_minpack():
    start = starts(8, 10)
    answer = minimize(rosenbrock, start, GaussNewton())
    assert answer.converged.all()
    minpacks = 0
    for z in start:
        jacobians = torch.func.jacrev(lambda z: rosenbrock_residuals(z[None])[0])
        minpacks += least_squares(
            lambda z: rosenbrock_residuals(torch.from_numpy(z[None]))[0].numpy(),
            z.numpy(),
            jac=lambda z, jacobians=jacobians: jacobians(torch.from_numpy(z)).numpy(),
            method="lm",
        ).nfev
    # MINPACK solves for the length of each step, where this follows its damping from step to step.
    assert answer.steps.sum() <= 2 * minpacks


def test_a_step_counts_the_products_with_its_jacobian():
    fn, y, start = fitted(4, 20)
    answer = minimize(fn, start, GaussNewton(), given=(y,))
    assert torch.equal(answer.evaluations, (answer.steps + 1) * 3)


def test_an_energy_without_residuals_is_told_what_to_do():
    with pytest.raises(ValueError, match=r"needs the residuals of a sum of squares.*Newton or LBFGS"):
        minimize(lambda z: z.square().sum(-1), normal(2, 3), GaussNewton())


class Angle(Energy):
    """How far y lies from the point of the unit circle at the angle z."""

    def latent(self, hx, hy):
        return torch.atan2(hy[..., 1:], hy[..., :1]) + 0.3

    def residuals(self, hx, hy, z):
        return hy - torch.cat([z.cos(), z.sin()], -1)

    def cost(self, hx, hy, z):
        return self.residuals(hx, hy, z).square().sum(-1)


def test_it_infers_the_latent_of_an_energy_that_names_its_residuals():
    y = torch.linspace(0.5, 2, 6, dtype=torch.float64)[:, None] * torch.nn.functional.normalize(normal(6, 2))
    answer = FreeEnergy(Angle(), GaussNewton(tolerance=1e-10)).infer(None, y)
    assert answer.converged.all()
    # The nearest point of the circle is along y; the gradient bounds how far the energy is above it.
    torch.testing.assert_close(answer.energy, (y.norm(dim=-1) - 1).square(), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("name", SETS)
def test_it_finds_the_minimum_in_a_set(name):
    check_constrained(GaussNewton(tolerance=1e-6), name)


def test_residuals_that_leave_the_numbers_are_stepped_short_of():
    # The first undamped step leads below 0, where the root is NaN.
    fn = SumOfSquares(lambda z: z.sqrt() - 0.1)
    answer = minimize(fn, torch.full((1, 1), 4.0, dtype=torch.float64), GaussNewton(damping=0.0, tolerance=1e-8))
    assert answer.converged.all()
    # A curvature of 2 (1 / 2 sqrt z)^2 = 50.
    torch.testing.assert_close(answer.z, torch.full((1, 1), 0.01, dtype=torch.float64), atol=1e-9, rtol=0)


def test_every_step_that_it_takes_lowers_the_energy():
    energies = torch.stack([point.energy for point, _ in walk(GaussNewton(), rosenbrock, starts(8, 6), steps=40)])
    assert (energies.diff(dim=0) <= 1e-14 * energies[:-1]).all()  # rounding
    assert (energies[-1] < 1e-2 * energies[0]).all()


def test_the_derivative_through_its_steps_is_that_of_the_minimum():
    fn, y, start = fitted(4, 20)
    y.requires_grad_()
    answer = minimize(fn, start, GaussNewton(tolerance=1e-11), given=(y,), adjoint=Unrolled())
    (derivative,) = torch.autograd.grad(answer.z[:, 1].sum(), y)
    step = 1e-5 * normal(4, 20, seed=9)
    up, down = (minimize(fn, start, GaussNewton(tolerance=1e-11), given=(y.detach() + s,)).z for s in (step, -step))
    # Central differences over 1e-5 of answers good to 1e-11.
    torch.testing.assert_close((derivative * step).sum(-1), (up - down)[:, 1] / 2, atol=1e-9, rtol=1e-4)
