"""What holds for every solver, found by listing `ebm/solvers`: a file dropped there is tested by being there."""

import dataclasses

import pytest
import torch
from conftest import every, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from ebm import Status, minimize
from ebm.solvers import Solver

solvers = pytest.mark.parametrize("kind", every("ebm.solvers", Solver))


class Quadratic:
    """`(z - c)' A (z - c) / 2` for each sample, the eigenvalues of `A` between 1 and 4."""

    def __init__(self, n, d, seed=0, dtype=torch.float64):
        axes, _ = torch.linalg.qr(normal(n, d, d, seed=seed))
        curvatures = 1 + 3 * torch.sigmoid(normal(n, d, seed=seed + 1))
        self.matrix = (axes @ curvatures.diag_embed() @ axes.mT).to(dtype)
        self.minimum = normal(n, d, seed=seed + 2, dtype=dtype)

    def __call__(self, z):
        offset = z - self.minimum
        return (offset * (self.matrix @ offset[..., None])[..., 0]).sum(-1) / 2


def valley(z):
    """A curved valley with its floor at `z1 = z0^2`, in arithmetic that rounds alike however many samples there are."""
    return 0.5 * (z[:, 0] - 1) ** 2 + 0.5 * (z[:, 1] - z[:, 0] ** 2) ** 2


@solvers
@given(n=st.integers(1, 5), d=st.integers(1, 6), seed=st.integers(0, 2**16))
@settings(max_examples=10)
def test_a_solver_finds_the_minimum_of_a_quadratic(kind, n, d, seed):
    fn = Quadratic(n, d, seed)
    answer = minimize(fn, torch.zeros(n, d, dtype=torch.float64), kind())
    assert answer.converged.all()
    # With curvature at least 1, a minimum is no further away than its gradient is long.
    assert (answer.z - fn.minimum).norm(dim=-1).max() <= kind().tolerance * d**0.5


@solvers
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_single_precision_reaches_a_gradient_of_1e_4(kind, offset):
    # With an offset of 1000 an energy resolves 6e-5 at best, and has to be told from its gradient.
    fn = Quadratic(6, 5, dtype=torch.float32)
    answer = minimize(lambda z: fn(z) + offset, torch.zeros(6, 5), kind(tolerance=1e-4))
    assert answer.z.dtype == torch.float32
    assert answer.converged.all()
    assert (answer.z - fn.minimum).norm(dim=-1).max() <= 1e-4 * 5**0.5


@solvers
def test_the_answer_of_a_sample_does_not_depend_on_the_rest_of_the_batch(kind):
    starts = 0.5 * normal(7, 2)
    together = minimize(valley, starts, kind())
    assert len(together.steps.unique()) > 1
    for i in range(7):
        alone = minimize(valley, starts[i : i + 1], kind())
        assert alone.steps[0] == together.steps[i]
        assert torch.equal(alone.z[0], together.z[i])


@solvers
@pytest.mark.parametrize("where", ["at the start", "on the way"])
def test_a_sample_that_leaves_the_numbers_costs_the_others_nothing(kind, where):
    starts = 0.5 * normal(5, 2)
    ill = torch.arange(5) == 2
    edge = -torch.inf if where == "at the start" else starts[2, 0] + 0.05

    def treacherous(z):
        return torch.where(ill & (z[:, 0] > edge), torch.nan, valley(z))

    healthy, answer = minimize(valley, starts, kind()), minimize(treacherous, starts, kind())
    assert torch.equal(answer.z[~ill], healthy.z[~ill])
    assert torch.equal(answer.steps[~ill], healthy.steps[~ill])
    assert answer.status[2] in (Status.NOT_FINITE, Status.STALLED)
    assert answer.z.isfinite().all()
    assert "1 of 5 " + Status(int(answer.status[2])).name.lower().replace("_", " ") in answer.summary()


@solvers
def test_a_sample_that_starts_at_its_minimum_takes_no_step(kind):
    fn = Quadratic(4, 3)
    start = fn.minimum.clone()
    start[1] += 1
    answer = minimize(fn, start, kind())
    assert answer.steps[[0, 2, 3]].tolist() == [0, 0, 0]
    assert (answer.evaluations[[0, 2, 3]] <= 1 + getattr(kind(), "power_iterations", 0)).all()
    assert answer.steps[1] > 0
    assert torch.equal(answer.z[[0, 2, 3]], start[[0, 2, 3]])


@solvers
def test_a_solver_takes_no_more_steps_than_it_may(kind):
    answer = minimize(Quadratic(3, 4), torch.zeros(3, 4, dtype=torch.float64), kind(steps=2, tolerance=1e-12))
    assert answer.steps.tolist() == [2, 2, 2]
    assert (answer.status == Status.OUT_OF_STEPS).all()


@solvers
def test_a_tighter_tolerance_is_met(kind):
    fn = Quadratic(3, 4)
    answer = minimize(fn, torch.zeros(3, 4, dtype=torch.float64), kind(tolerance=1e-7))
    assert answer.converged.all()
    assert (answer.z - fn.minimum).norm(dim=-1).max() <= 1e-7 * 4**0.5


@solvers
def test_a_solver_is_frozen_so_that_its_state_goes_in_and_comes_out(kind):
    solver = kind()
    with pytest.raises(dataclasses.FrozenInstanceError):
        solver.steps = 3
    assert solver == kind()
    assert hash(solver) == hash(kind())
    assert dataclasses.replace(solver, steps=3).steps == 3
