import subprocess
import sys

import numpy as np
import pytest
import scipy.optimize
import torch
from conftest import normal

from ebm import LBFGS, Ball, Box, Implicit, NonNegative, SciPy, Simplex, Sphere, Status, Unrolled, minimize
from ebm.solvers.scipy import METHODS

WITH_DERIVATIVES = [name for name, method in METHODS.items() if method.derivatives != "none"]
WITHOUT = [name for name, method in METHODS.items() if method.derivatives == "none"]
CONSTRAINTS = [Box(-0.3, 0.4), NonNegative(), Simplex(), Sphere(), Ball()]


def uneven(z):
    """A bowl of unlike curvatures about (3, 1, -2), with waves too low for a second minimum."""
    offset = z - torch.tensor([3.0, 1.0, -2.0], dtype=z.dtype)
    return (offset.square() * torch.tensor([1.0, 2.0, 4.0], dtype=z.dtype) + 0.3 * offset.sin()).sum(-1)


def rosenbrock(z):
    return (1 - z[..., 0]).square() + 10 * (z[..., 1] - z[..., 0].square()).square()


@pytest.mark.parametrize("given", [None, ()], ids=["held", "given"])
def test_it_is_scipy_on_each_sample_by_itself(given):
    starts = normal(5, 2)
    answer = minimize(rosenbrock, starts, SciPy(tolerance=1e-6), given=given)

    def value_and_slope(z):
        x, y = z
        inner = y - x**2
        return (1 - x) ** 2 + 10 * inner**2, np.array([-2 * (1 - x) - 40 * x * inner, 20 * inner])

    for i in range(5):
        options = {"gtol": 1e-6, "ftol": 0, "maxiter": 500}
        direct = scipy.optimize.minimize(
            value_and_slope, starts[i].numpy(), jac=True, method="L-BFGS-B", options=options
        )
        assert answer.steps[i] == direct.nit
        assert answer.evaluations[i] == direct.nfev + 2  # the start, and the answer
        # The derivative by hand rounds otherwise, which 20 steps along a valley of condition 100 may amplify.
        torch.testing.assert_close(answer.z[i], torch.from_numpy(direct.x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", WITH_DERIVATIVES)
def test_every_method_with_derivatives_finds_the_minimum(method):
    start = normal(3, 3) + torch.tensor([3.0, 1.0, -2.0])  # near enough for dogleg, which needs a convex energy
    answer = minimize(uneven, start, SciPy(method, tolerance=1e-6))
    assert answer.converged.all(), answer.summary()
    assert answer.gradient_norm.max() <= 1e-6
    expected = minimize(uneven, start, LBFGS(tolerance=1e-9))
    # A curvature of 1.7 at least, and a gradient of 1e-6 in each of three coordinates.
    torch.testing.assert_close(answer.z, expected.z, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", WITHOUT)
def test_every_method_without_derivatives_finds_the_minimum(method):
    answer = minimize(uneven, normal(2, 3), SciPy(method, steps=1000))
    expected = minimize(uneven, normal(2, 3), LBFGS(tolerance=1e-9))
    # They end by the size of a simplex or region of 1e-5, on energies that are told apart to 1e-8 of z.
    torch.testing.assert_close(answer.z, expected.z, atol=1e-4, rtol=0)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=repr)
@pytest.mark.parametrize("method", ["L-BFGS-B", "SLSQP", "BFGS", "CG", "Newton-CG", "TNC"])
def test_under_constraints_it_finds_the_minimum_that_lbfgs_does(method, constraint):
    start = normal(4, 3)  # some of which lie at corners once projected, where the projection has no derivative
    answer = minimize(uneven, start, SciPy(method, tolerance=1e-6), within=constraint)
    expected = minimize(uneven, start, LBFGS(tolerance=1e-7), within=constraint)
    assert torch.equal(constraint.project(answer.z), answer.z)
    assert answer.converged.all(), answer.summary()
    # Minima along faces of a curvature of 1 at least, and gradients of 1e-6 at most.
    torch.testing.assert_close(answer.z, expected.z, atol=5e-6, rtol=0)


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=repr)
def test_the_energy_is_never_asked_for_outside_the_constraints(constraint):
    seen = []

    def recorded(z):
        seen.append(z.detach().clone())
        return uneven(z)

    minimize(recorded, constraint.project(normal(3, 3)), SciPy(), within=constraint, given=())
    everywhere = torch.cat(seen)
    assert torch.equal(constraint.project(everywhere), everywhere)


def test_bounds_and_what_is_free_may_be_parts_of_one_latent():
    start = (normal(3, 2), normal(3, 3, seed=1))
    within = (Box(-0.1, 0.2), None)

    def joint(z):
        return (z[0] - 1).square().sum(-1) + (z[1] - z[0].sum(-1, keepdim=True)).square().sum(-1)

    answer = minimize(joint, start, SciPy(tolerance=1e-6), within=within)
    assert answer.converged.all()
    assert torch.equal(answer.z[0], torch.full_like(answer.z[0], 0.2))
    # A curvature of 2.
    torch.testing.assert_close(answer.z[1], torch.full_like(answer.z[1], 0.4), atol=1e-6, rtol=0)


def test_a_success_of_scipys_with_a_slope_above_the_tolerance_has_not_converged():
    answer = minimize(rosenbrock, normal(3, 2), SciPy(options={"ftol": 0.1}, tolerance=1e-8))
    assert (answer.status == Status.STALLED).all()
    assert (answer.gradient_norm > 1e-8).all()


def test_what_used_up_its_iterations_is_out_of_steps():
    answer = minimize(rosenbrock, normal(3, 2), SciPy(steps=3, tolerance=1e-10))
    assert (answer.status == Status.OUT_OF_STEPS).all()
    assert answer.steps.tolist() == [3, 3, 3]


def test_in_single_precision_it_says_where_rounding_stopped_it():
    answer = minimize(lambda z: uneven(z) + 1e3, normal(4, 3, dtype=torch.float32), SciPy())
    assert answer.z.dtype == torch.float32
    assert torch.equal(answer.converged, answer.gradient_norm <= 1e-4)
    assert (answer.status == Status.STALLED).any()  # an energy of 1000 resolves 6e-5: no line search can see the rest


def test_a_derivative_of_the_answer_is_that_of_the_implicit_function():
    target = normal(4, 3).requires_grad_()
    answer = minimize(
        lambda z, t: uneven(z - t), torch.zeros(4, 3).double(), SciPy(), given=(target,), adjoint=Implicit()
    )
    (slope,) = torch.autograd.grad(answer.z.sum(), target)
    torch.testing.assert_close(slope, torch.ones_like(slope))  # the minimum moves as the target does


def test_its_steps_cannot_be_recorded():
    with pytest.raises(RuntimeError, match=r"what SciPy does cannot be recorded.*use `Implicit\(\)`"):
        minimize(uneven, normal(2, 3).requires_grad_(), SciPy(), adjoint=Unrolled())


def test_a_method_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(ValueError, match=r"`method` is one of Nelder-Mead, .*L-BFGS-B, .*, not 'Adam'"):
        SciPy("Adam")


def test_it_works_in_inference_mode():
    with torch.inference_mode():
        assert minimize(uneven, normal(2, 3), SciPy("Newton-CG")).converged.all()


def test_a_batch_of_none_has_no_minimum_to_find():
    assert minimize(uneven, torch.zeros(0, 3), SciPy()).z.shape == (0, 3)


def test_importing_ebm_does_not_import_scipy():
    code = "import sys, ebm; assert not any(name.split('.')[0] == 'scipy' for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
