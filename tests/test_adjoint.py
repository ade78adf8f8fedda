import warnings

import pytest
import torch
from conftest import every, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from ebm import (
    L1,
    LBFGS,
    Ball,
    Box,
    Detached,
    GradientDescent,
    GroupL1,
    Implicit,
    NonNegative,
    NonNegativeL1,
    OneStep,
    ProximalGradient,
    Simplex,
    Sphere,
    Truncated,
    Unrolled,
    minimize,
)
from ebm.solvers import Solver

# A search without gradients and SciPy cannot be recorded, and Gauss-Newton needs residuals: see their own tests.
SEARCHES = ("CrossEntropyMethod", "ImprovedCrossEntropy", "CategoricalCrossEntropy", "MPPI")
UNRECORDED = (*SEARCHES, "Enumeration", "SciPy", "GaussNewton")
recorded = [case for case in every("ebm.solvers", Solver) if case.id not in UNRECORDED]
solvers = pytest.mark.parametrize("kind", recorded)


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
    # summed over four samples. Steps whose length was searched for carry the derivative of that too.
    searched = kind.__name__ in ("NonlinearConjugateGradients", "ProjectedGradient")
    torch.testing.assert_close(unrolled, exact, atol=1e-4 if searched else 2e-6, rtol=0)


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


# Implicit derivatives ------------------------------------------------------------------------------------------------

TIGHT = LBFGS(tolerance=1e-11, steps=3000, patience=200)
PROXIMAL = ProximalGradient(tolerance=1e-13, steps=20000, patience=2000)
HARD = {"atol": 0, "rtol": 1e-8}


def decoding(weight, y, z):
    """An energy of `z` (N, 4) that is no quadratic, with weights (4, 6)."""
    return (y - (z @ weight).tanh()).square().sum(-1) + 0.1 * z.square().sum(-1)


def slope_along(loss, weight, direction, step=1e-6):
    """The central difference of a loss of the weights."""
    with torch.no_grad():
        return (loss(weight + step * direction) - loss(weight - step * direction)) / (2 * step)


both = pytest.mark.parametrize(
    "adjoint", [Implicit(), Implicit(dense=0, tolerance=1e-10)], ids=["written out", "by products"]
)


@both
@given(n=st.integers(1, 4), d=st.integers(1, 6), m=st.integers(1, 7), seed=st.integers(0, 2**16))
@settings(max_examples=15)
def test_the_implicit_derivative_is_that_of_the_closed_form_minimum(adjoint, n, d, m, seed):
    # argmin_z |y - A z|^2 + |z|^2 / 2 = (A'A + 1/2)^-1 A'y
    matrix, y = normal(m, d, seed=seed).requires_grad_(), normal(n, m, seed=seed + 1).requires_grad_()
    identity = torch.eye(d, dtype=torch.float64)
    closed_form = torch.linalg.solve(matrix.T @ matrix + identity / 2, matrix.T @ y.T).T
    answer = minimize(
        lambda z, y: (y - z @ matrix.T).square().sum(-1) + z.square().sum(-1) / 2,
        torch.zeros(n, d, dtype=torch.float64),
        LBFGS(tolerance=1e-10, steps=2000),
        given=(y,),
        adjoint=adjoint,
    )
    weights = normal(n, d, seed=seed + 2)
    implicit, exact = (
        torch.autograd.grad((z * weights).sum(), (matrix, y), retain_graph=True) for z in (answer.z, closed_form)
    )
    # Off in proportion to the distance from the minimum, 1e-10 at a curvature of at least 1, and the tolerance.
    for mine, theirs in zip(implicit, exact, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-7, rtol=1e-7)


@both
def test_it_agrees_with_finite_differences_of_solves_started_anew(adjoint):
    weight, direction = normal(4, 6).requires_grad_(), normal(4, 6, seed=1)
    y, target, start = normal(5, 6, seed=2), normal(5, 4, seed=3), torch.zeros(5, 4, dtype=torch.float64)

    def loss(weight, adjoint=None):
        answer = minimize(lambda z, y: decoding(weight, y, z), start, TIGHT, given=(y,), adjoint=adjoint)
        return (answer.z - target).square().sum()

    (gradient,) = torch.autograd.grad(loss(weight, adjoint), weight)
    # Differences over 1e-6 of a loss of order 10, with rounding of 1e-15 in it.
    expected = slope_along(loss, weight.detach(), direction)
    torch.testing.assert_close((gradient * direction).sum(), expected, atol=0, rtol=1e-6)


def test_implicit_and_unrolled_agree_with_and_without_checkpoints():
    weight, y, target = normal(4, 6).requires_grad_(), normal(5, 6, seed=2), normal(5, 4, seed=3)
    gradients = []
    for adjoint in (Implicit(), Unrolled(), Unrolled(checkpoint=True)):
        answer = minimize(
            lambda z: decoding(weight, y, z), torch.zeros_like(target), LBFGS(tolerance=1e-9), adjoint=adjoint
        )
        gradients += torch.autograd.grad((answer.z * target).sum(), weight)
    # What L-BFGS leaves of its start has a derivative that dies out more slowly than its energy.
    torch.testing.assert_close(gradients[1], gradients[0], atol=0, rtol=1e-3)
    # Computed again, the same numbers.
    torch.testing.assert_close(gradients[2], gradients[1], atol=1e-12, rtol=1e-12)


def hilly(matrix, y, z):
    """Convex and no quadratic, of `z` (N, 12)."""
    quartic = 0.025 * z.pow(4).sum(-1) + 0.2 * z.square().sum(-1)
    return (y - z @ matrix.T).square().sum(-1) / 2 + quartic


CONFINED = {
    "box": {"within": Box(-0.3, 0.3)},
    "non-negative": {"within": NonNegative()},
    "simplex": {"within": Simplex()},
    "sphere": {"within": Sphere()},
    "ball": {"within": Ball(0.5)},
    "l1": {"penalty": L1(0.15)},
    "non-negative l1": {"penalty": NonNegativeL1(0.15)},
    "group l1": {"penalty": GroupL1(0.15, 4)},
}


@both
@pytest.mark.parametrize("domain", CONFINED)
def test_under_constraints_and_penalties_it_follows_the_face_of_the_minimum(domain, adjoint):
    matrix, direction = normal(6, 12).requires_grad_(), normal(6, 12, seed=1)
    y, target = normal(5, 6, seed=2), normal(5, 12, seed=3)
    start = torch.full((5, 12), 1 / 12, dtype=torch.float64)

    def solve(matrix, start=start, adjoint=None):
        solver, domain_ = PROXIMAL, CONFINED[domain]
        fn = lambda z, y: hilly(matrix, y, z)  # noqa: E731
        return minimize(fn, start, solver, given=(y,), adjoint=adjoint, **domain_)

    answer = solve(matrix.detach())
    assert answer.converged.all()

    def loss(matrix, adjoint=None):
        return (solve(matrix, answer.z, adjoint).z - target).square().sum()

    (gradient,) = torch.autograd.grad(loss(matrix, adjoint), matrix)
    expected = slope_along(loss, matrix.detach(), direction, step=1e-5)
    # Differences over 1e-5 of minima that are good to 1e-13 over their least curvature, about 0.4.
    torch.testing.assert_close((gradient * direction).sum(), expected, atol=0, rtol=1e-4)


def test_the_hessian_of_the_energy_alone_would_be_far_off_at_an_active_bound():
    # The closed form at a bound: z stays there, so that its derivative is zero and not -H^-1 of anything.
    y = torch.tensor([[2.0, 0.1]], dtype=torch.float64, requires_grad=True)
    start = torch.zeros(1, 2, dtype=torch.float64)
    fn = lambda z, y: (z - y).square().sum(-1) + z.prod(-1)  # noqa: E731
    bounded = minimize(fn, start, TIGHT, given=(y,), within=Box(-1, 1), adjoint=Implicit()).z
    (gradient,) = torch.autograd.grad(bounded[0, 0], y, retain_graph=True)
    assert torch.equal(bounded[0, 0].detach(), torch.ones((), dtype=torch.float64))
    assert not gradient.any()
    # The other coordinate minimises (z - y)^2 + z, so that it follows y one to one.
    (gradient,) = torch.autograd.grad(bounded[0, 1], y)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 1.0]], dtype=torch.float64), **HARD)


# Second derivatives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adjoint", [Implicit(), Implicit(dense=0, tolerance=1e-10), Unrolled()], ids=repr)
def test_second_derivatives_of_the_minimum_are_those_of_the_closed_form(adjoint):
    # min_z |y - A z|^2 + |z|^2 = y' (1 + A A')^-1 y
    matrix, y = normal(5, 3).requires_grad_(), normal(4, 5, seed=1).requires_grad_()
    inverse = torch.linalg.inv(torch.eye(5, dtype=torch.float64) + matrix @ matrix.T)
    closed_form = ((y @ inverse) * y).sum(-1)
    answer = minimize(
        lambda z, y: (y - z @ matrix.T).square().sum(-1) + z.square().sum(-1),
        torch.zeros(4, 3, dtype=torch.float64),
        LBFGS(tolerance=1e-10, steps=1000),
        given=(y,),
        adjoint=adjoint,
    )
    torch.testing.assert_close(answer.energy, closed_form, atol=1e-12, rtol=1e-12)
    scores = [
        torch.autograd.grad(energy.sum(), y, create_graph=True)[0].square().sum()
        for energy in (answer.energy, closed_form)
    ]
    mixed = [torch.autograd.grad(score, matrix, retain_graph=True)[0] for score in scores]
    # The derivative of z is off by 1e-10 over curvatures of at least 2; unrolled it dies out more slowly.
    torch.testing.assert_close(mixed[0], mixed[1], atol=1e-4 if isinstance(adjoint, Unrolled) else 1e-8, rtol=0)


def test_a_second_derivative_that_would_be_wrong_raises():
    c = normal(4, 3).requires_grad_()
    start = torch.zeros(4, 3, dtype=torch.float64)
    fn = lambda z, c: (z - c).square().sum(-1) + z.pow(4).sum(-1)  # noqa: E731
    detached = minimize(fn, start, given=(c,)).energy.sum()
    (slope,) = torch.autograd.grad(detached, c, create_graph=True)
    with pytest.raises(RuntimeError, match=r"`Detached` leaves out.*`adjoint=Implicit\(\)`"):
        torch.autograd.grad(slope.square().sum(), c)
    z = minimize(fn, start, given=(c,), adjoint=Implicit()).z
    (slope,) = torch.autograd.grad(z.square().sum(), c, create_graph=True)
    with pytest.raises(RuntimeError, match=r"`Implicit` leaves out.*`Unrolled\(\)`"):
        torch.autograd.grad(slope.square().sum(), c)


# Approximations, and what is said of them ----------------------------------------------------------------------------


def test_more_truncated_steps_come_closer_to_the_derivative_and_one_step_is_the_first_of_them():
    c, start = normal(4, 3).requires_grad_(), torch.zeros(4, 3, dtype=torch.float64)
    descent = GradientDescent(rate=0.1)

    def gradient(adjoint):
        answer = minimize(quadratic(c), start, LBFGS(tolerance=1e-10), adjoint=adjoint)
        return torch.autograd.grad(answer.z.sum(), c)[0]

    # k steps of rate r on curvature 2 carry the share 1 - (1 - 2 r)^k of the derivative, which is one.
    for steps in (1, 3, 30):
        expected = torch.full_like(c, 1 - 0.8**steps)
        torch.testing.assert_close(gradient(Truncated(steps, descent)), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradient(OneStep(rate=0.1)), gradient(Truncated(1, descent)), atol=1e-12, rtol=0)


def test_an_unconverged_answer_is_warned_about_and_a_polish_squares_its_error():
    weight, y, target = normal(4, 6).requires_grad_(), normal(5, 6, seed=2), normal(5, 4, seed=3)

    def gradient(solver, adjoint):
        fn = lambda z, y: decoding(weight, y, z)  # noqa: E731
        answer = minimize(fn, torch.zeros_like(target), solver, given=(y,), adjoint=adjoint)
        return torch.autograd.grad((answer.z * target).sum(), weight)[0]

    exact = gradient(TIGHT, Implicit())
    early = LBFGS(steps=9, tolerance=1e-9)
    errors = []
    for adjoint in (Implicit(), Implicit(polish=True)):
        with pytest.warns(UserWarning, match=r"did not converge before.*up to \d\.\de-\d+ from their minima"):
            errors.append(((gradient(early, adjoint) - exact).norm() / exact.norm()).item())
    assert errors[0] > 1e-4
    assert errors[1] < errors[0] / 10


def test_a_linear_system_that_is_not_solved_is_warned_about_with_a_bound():
    # A saddle: no minimum, and so no derivative of one.
    c = torch.zeros(1, 2, dtype=torch.float64, requires_grad=True)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    answer = minimize(lambda z, c: (signs * (z - c).square()).sum(-1), c.detach(), given=(c,), adjoint=Implicit())
    with pytest.warns(UserWarning, match="no strict minimum"):
        torch.autograd.grad(answer.z.sum(), c)
    curvatures = torch.logspace(0, 6, 40, dtype=torch.float64)
    c = normal(2, 40).requires_grad_()
    start = c.detach()  # its minimum
    few = Implicit(dense=0, steps=3)
    answer = minimize(lambda z, c: (curvatures * (z - c).square()).sum(-1), start, given=(c,), adjoint=few)
    with pytest.warns(UserWarning, match=r"not solved for 2 of 2 samples.*raise `Implicit\(steps=\.\.\.\)`"):
        torch.autograd.grad(answer.z.sum(), c)


def test_a_converged_answer_is_not_warned_about():
    c = normal(4, 3).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = minimize(quadratic(c), torch.zeros(4, 3, dtype=torch.float64), adjoint=Implicit())
        (slope,) = torch.autograd.grad(answer.z.sum(), c)
    assert answer.converged.all()
    assert slope.abs().max() > 0


@pytest.mark.parametrize("adjoint", [Implicit(), Unrolled(), Truncated(3, GradientDescent())], ids=repr)
def test_a_sample_without_an_energy_costs_the_derivatives_of_the_others_nothing(adjoint):
    scale = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    edge = torch.tensor([torch.inf, 0.3, torch.inf], dtype=torch.float64)  # the second has no energy beyond it

    def fn(z, c, edge):
        inside = (z - scale * c).square().sum(-1)
        return inside + 0 * (edge - z[:, 0]).clamp_max(1).sqrt()

    c, start = torch.ones(3, 2, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.float64)
    solver = GradientDescent(rate=0.45, steps=30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answer = minimize(fn, start, solver, given=(c, edge), adjoint=adjoint)
        (gradient,) = torch.autograd.grad(answer.z[[0, 2]].sum(), scale)
    assert answer.converged.tolist() == [True, False, True]
    assert gradient.isfinite()
    # The minimum is at `scale`, in four coordinates; three truncated steps of rate 0.1 carry about half of it.
    expected = 4 * (1 - 0.8**3) if isinstance(adjoint, Truncated) else 4.0
    assert gradient.item() == pytest.approx(expected, abs=1e-3)


def test_no_list_of_parameters_is_needed_and_none_is_touched():
    layer = torch.nn.Linear(3, 5).double()
    y = normal(4, 5)
    start = torch.zeros(4, 3, dtype=torch.float64)
    answer = minimize(lambda z: (layer(z) - y).square().sum(-1), start, adjoint=Implicit())
    assert layer.weight.grad is None
    answer.z.square().sum().backward()
    assert layer.weight.grad is not None
    assert layer.bias.grad.abs().max() > 1e-3


def test_the_best_of_several_starts_carries_the_derivative():
    # Two wells of unequal depth, whose places follow c.
    c = torch.tensor([[0.2], [-0.2]], dtype=torch.float64, requires_grad=True)
    fn = lambda z, c: ((z - c).square() - 1).square().sum(-1) + 0.3 * (z - c).sum(-1)  # noqa: E731
    start = torch.full((2, 1), 1.0, dtype=torch.float64)
    answer = minimize(fn, start, given=(c,), restarts=6, adjoint=Implicit())
    assert (answer.z - c < 0).all()
    assert answer.starts is not None
    (gradient,) = torch.autograd.grad(answer.z.sum(), c)
    torch.testing.assert_close(gradient, torch.ones_like(c), **HARD)
