from dataclasses import dataclass, field
from typing import final

import numpy as np
import pytest
import scipy.optimize
import torch
from conftest import normal

from ebm import LBFGS, Adam, GradientDescent, Status, minimize
from ebm.energies import LatentDecoder
from ebm.solvers import Problem, Solver


def rosenbrock(z):
    return (1 - z[..., 0]).square() + 100 * (z[..., 1] - z[..., 0].square()).square()


STARTS = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [2.0, -1.0], [-1.0, -1.0], [0.5, 3.0]], dtype=torch.float64)


def by_scipy(fn, start, gtol):
    """L-BFGS-B from each start by itself; `fn` takes a batch."""

    def value_and_slope(z):
        z = torch.from_numpy(z)[None].requires_grad_()
        energy = fn(z)[0]
        return energy.item(), torch.autograd.grad(energy, z)[0][0].numpy()

    options = {"gtol": gtol, "ftol": 0, "maxiter": 1000}
    return scipy.optimize.minimize(value_and_slope, start.numpy(), jac=True, method="L-BFGS-B", options=options)


def slope_at(fn, z):
    z = z.detach().requires_grad_()
    return torch.autograd.grad(fn(z).sum(), z)[0]


@final
@dataclass(frozen=True)
class Recording(Solver):
    """Another solver, and every point that it evaluated."""

    solver: Solver
    seen: list = field(default_factory=list)

    @property
    def steps(self):
        return self.solver.steps

    @property
    def tolerance(self):
        return self.solver.tolerance

    @property
    def patience(self):
        return self.solver.patience

    def init(self, problem, point):
        self.seen.append(point)
        return self.solver.init(problem, point)

    def step(self, problem, point, state):
        return self.solver.step(Watched(problem, self.seen), point, state)


@dataclass
class Watched:
    """A problem, and every point that it is called at."""

    problem: Problem
    seen: list

    def __call__(self, z):
        self.seen.append(self.problem(z))
        return self.seen[-1]

    def __getattr__(self, name):
        return getattr(self.problem, name)


def test_rosenbrocks_valley_is_followed_to_its_end_as_by_scipy():
    answer = minimize(rosenbrock, STARTS, LBFGS(tolerance=1e-8))
    scipys = np.stack([by_scipy(rosenbrock, start, 1e-8).x for start in STARTS])
    assert answer.converged.all()
    # The least curvature at the minimum is 0.4: a gradient of 1e-8 is 2.5e-8 away, for either.
    torch.testing.assert_close(answer.z, torch.ones_like(STARTS), atol=1e-7, rtol=0)
    torch.testing.assert_close(answer.z, torch.from_numpy(scipys), atol=1e-7, rtol=0)


def test_lbfgs_takes_hardly_more_evaluations_than_scipys():
    answer = minimize(rosenbrock, STARTS, LBFGS(tolerance=1e-8))
    scipys = [by_scipy(rosenbrock, start, 1e-8).nfev for start in STARTS]
    # A line search that only backtracks is known to take somewhat more than one that interpolates.
    assert answer.evaluations.sum() < 1.5 * sum(scipys)


def test_the_latent_of_a_decoder_is_that_of_scipy():
    energy, y = LatentDecoder.small().double(), normal(6, 8)
    answer = minimize(lambda z: energy.cost(y, y, z), torch.zeros(6, 3, dtype=torch.float64), LBFGS(tolerance=1e-8))
    assert answer.converged.all()
    for i in range(6):
        scipys = by_scipy(lambda z, i=i: energy.cost(y[i], y[i], z), torch.zeros(3, dtype=torch.float64), 1e-8)
        # Curvature is at least twice the strength of 0.1 near these minima, and 1e-8 / 0.2 is 5e-8, for either.
        torch.testing.assert_close(answer.z[i], torch.from_numpy(scipys.x), atol=1e-6, rtol=0)
        assert answer.energy[i].item() == pytest.approx(scipys.fun, abs=1e-12)


def test_single_precision_follows_the_valley_as_far_as_it_resolves():
    answer = minimize(rosenbrock, STARTS.float(), LBFGS(tolerance=1e-4))
    assert answer.converged.all()
    # A gradient of 1e-4 over the least curvature of 0.4, in two coordinates.
    torch.testing.assert_close(answer.z, torch.ones(5, 2), atol=5e-4, rtol=0)


@pytest.mark.parametrize(
    ("solver", "status"),
    [
        (LBFGS(), Status.CONVERGED),
        (LBFGS(steps=5), Status.OUT_OF_STEPS),
        (GradientDescent(rate=1e-5, steps=5), Status.OUT_OF_STEPS),
        (GradientDescent(rate=1e-2), Status.NOT_FINITE),
    ],
    ids=["converged", "too few steps", "too slow", "too fast"],
)
def test_the_status_says_how_the_solve_ended(solver, status):
    answer = minimize(rosenbrock, STARTS, solver)
    assert answer.status.tolist() == [status] * 5
    assert answer.converged.tolist() == [status == Status.CONVERGED] * 5
    assert answer.summary() == f"5 of 5 {status.name.lower().replace('_', ' ')}: {status.advice}"


def test_jumping_over_a_kink_stalls():
    answer = minimize(lambda z: z.abs().sum(-1), STARTS + 0.03, GradientDescent())
    assert answer.status.tolist() == [Status.STALLED] * 5
    assert (answer.steps < 200).all()  # the longest way is 20 steps of 0.1 or 30, and then 100 without progress


@pytest.mark.parametrize(
    "solver", [LBFGS(tolerance=0.0), GradientDescent(rate=0.05, tolerance=0.0)], ids=["search", "descent"]
)
def test_a_tolerance_below_what_the_dtype_resolves_stalls_instead_of_going_on(solver):
    cubes = torch.tensor([2.0, 3.0, 5.0])  # their roots are no floats, so that hardly a gradient is exactly zero
    answer = minimize(lambda z: (z.pow(4) / 4 - cubes * z).sum(-1), torch.ones(4, 3), solver)
    assert answer.status.tolist() == [Status.STALLED] * 4
    assert (answer.steps < solver.steps).all()
    # And yet it is there: rounding of 5e-7 in slopes of 5, over curvatures of at least 4.
    torch.testing.assert_close(answer.z, cubes.pow(1 / 3).expand(4, 3), atol=1e-6, rtol=0)


def test_an_energy_that_is_nan_at_the_start_is_not_finite_after_no_step():
    start = torch.tensor([[1.0], [-1.0]])
    answer = minimize(lambda z: z.sqrt().sum(-1) + (z - 1).square().sum(-1), start)
    assert answer.status[1] == Status.NOT_FINITE
    assert answer.steps[1] == 0
    assert torch.equal(answer.z[1], start[1])


def test_a_failure_raises_with_how_many_and_what_to_do():
    fast = minimize(rosenbrock, torch.cat([torch.ones(1, 2), STARTS[:2]]), LBFGS(steps=5))
    with pytest.raises(RuntimeError, match=r"failed for some samples:\n2 of 3 out of steps: .*raise `steps`.*\n1 of 3"):
        fast.raise_if_failed()


def test_a_success_returns_itself():
    answer = minimize(rosenbrock, STARTS)
    assert answer.raise_if_failed() is answer


def test_every_status_gives_advice():
    assert len({status.advice for status in Status}) == len(Status)


@pytest.mark.parametrize(
    ("solver", "fn"),
    [
        (GradientDescent(rate=3e-3, steps=60), rosenbrock),
        (GradientDescent(rate=0.2, momentum=0.95, steps=20), lambda z: (z - 5).square().sum(-1)),
        (Adam(rate=1.0, steps=40), rosenbrock),
        (LBFGS(steps=12), rosenbrock),
    ],
    ids=["jumping", "swinging", "overshooting", "searching"],
)
def test_a_solve_that_did_not_converge_returns_the_best_point_it_visited(solver, fn):
    recording = Recording(solver)
    answer = minimize(fn, STARTS, recording)
    visited = torch.stack([point.energy for point in recording.seen])
    visited = visited.nan_to_num(torch.inf)
    last = visited[-1]
    assert not answer.converged.any()
    assert torch.equal(answer.energy, visited.amin(0))
    assert (answer.energy <= fn(STARTS)).all()
    if not isinstance(solver, LBFGS):
        assert (answer.energy < last).any()


@pytest.mark.parametrize("solver", [LBFGS(), LBFGS(steps=7), Adam(rate=1.0, steps=30)], ids=repr)
def test_energy_and_gradient_norm_are_those_at_the_answer(solver):
    answer = minimize(rosenbrock, STARTS, solver)
    assert torch.equal(answer.energy, rosenbrock(answer.z))
    # Two ways to one derivative: rounding of terms up to 1e3.
    torch.testing.assert_close(answer.gradient_norm, slope_at(rosenbrock, answer.z).abs().amax(-1), atol=1e-12, rtol=0)


def test_converged_means_that_no_component_of_the_gradient_is_above_the_tolerance():
    answer = minimize(rosenbrock, STARTS, LBFGS(tolerance=1e-3))
    assert answer.converged.all()
    assert slope_at(rosenbrock, answer.z).abs().max() <= 1e-3


@pytest.mark.parametrize("solver", [LBFGS(), GradientDescent(rate=1e-3, steps=9)], ids=repr)
def test_evaluations_are_counted_as_they_happen(solver):
    calls = []

    def counted(z):
        calls.append(len(z))
        return rosenbrock(z)

    answer = minimize(counted, STARTS, solver)
    # Besides those of the solve: one to see the shape, one to see that it comes out the same, and one at the answer
    # for its derivative.
    assert len(calls) == answer.evaluations.max() + 3
    assert torch.equal(answer.evaluations, answer.steps + 1)


def test_a_batch_may_have_several_axes_and_a_latent_too():
    target = normal(2, 3, 4, 5)
    answer = minimize(lambda z: (z - target).square().sum((-2, -1)), torch.zeros_like(target))
    assert answer.z.shape == (2, 3, 4, 5)
    for field_ in (answer.energy, answer.status, answer.steps, answer.evaluations, answer.gradient_norm):
        assert field_.shape == (2, 3)
    # Curvature 2 and a gradient below 1e-4.
    torch.testing.assert_close(answer.z, target, atol=5e-5, rtol=0)


def test_an_empty_batch_has_an_empty_answer():
    answer = minimize(lambda z: z.square().sum(-1), torch.zeros(0, 3))
    assert answer.z.shape == (0, 3)
    assert answer.energy.shape == answer.status.shape == (0,)


@pytest.mark.parametrize(
    ("fn", "shape"),
    [
        (lambda z: z.square().sum(), r"but it was \(\); sum over features, not the batch"),
        (lambda z: z.square().sum(0), r"such as \(4,\), but it was \(3,\)"),
        (lambda z: z.square().sum(-1, keepdim=True), r"such as \(4,\), but it was \(4, 1\)"),
    ],
    ids=["scalar", "sum over the batch", "an axis too many"],
)
def test_an_energy_that_is_not_one_number_per_sample_is_refused_by_its_shape(fn, shape):
    with pytest.raises(ValueError, match=r"one number per sample: for z of shape \(4, 3\).*" + shape):
        minimize(fn, torch.zeros(4, 3))


def test_integers_are_no_place_to_start():
    with pytest.raises(ValueError, match=r"starts from floating point, not torch.int64"):
        minimize(lambda z: z.square().sum(-1), torch.zeros(4, 3, dtype=torch.long))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_start_that_is_not_finite_is_refused_by_how_much_of_it(value):
    start = torch.zeros(4, 3)
    start[1, 1:] = value
    with pytest.raises(ValueError, match="the start holds 2 values that are NaN or infinite"):
        minimize(lambda z: z.square().sum(-1), start)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_inference_runs_with_gradients_switched_off(mode):
    with mode():
        answer = minimize(rosenbrock, STARTS)
    assert answer.converged.all()


def test_the_start_is_left_as_it_was():
    start = STARTS.clone()
    minimize(rosenbrock, start)
    assert torch.equal(start, STARTS)
