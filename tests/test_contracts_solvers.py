"""What holds for every solver, found by listing `ebm/solvers`: a file dropped there is tested by being there."""

import dataclasses

import pytest
import torch
from conftest import every, normal
from hypothesis import given, settings
from hypothesis import strategies as st

from ebm import Status, SumOfSquares, minimize
from ebm.solvers import Solver

# See energies alone, and have converged when they have narrowed.
SEARCHES = {"CrossEntropyMethod", "ImprovedCrossEntropy", "MPPI"}
HASTY = {"ImprovedCrossEntropy"}  # made for a few steps, narrow before they have come all the way
ENUMERATIONS = {"Enumeration"}  # take the best of some candidates, in one step and wherever they start
CHOICES = ENUMERATIONS | {"CategoricalCrossEntropy"}  # take none but one-hot latents, or those of a list
REFERENCES = {"SciPy"}  # compute in double precision, whose line searches take rounding to single for a rise


def solvers_but(names):
    """Every solver, except those that a claim cannot hold for."""
    return pytest.mark.parametrize("kind", [kind for kind in every("ebm.solvers", Solver) if kind.id not in names])


solvers = solvers_but(set())


def make(kind):
    """A solver with the settings it has by itself, and with something to choose from if it needs that."""
    return kind(normal(30, 2, seed=4)) if kind.__name__ in ENUMERATIONS else kind()


class Quadratic(SumOfSquares):
    """`(z - c)' A (z - c) / 2` for each sample, the eigenvalues of `A` between 1 and 4; and a number added to it."""

    def __init__(self, n, d, seed=0, dtype=torch.float64, offset=0.0):
        axes, _ = torch.linalg.qr(normal(n, d, d, seed=seed))
        curvatures = 1 + 3 * torch.sigmoid(normal(n, d, seed=seed + 1))
        self.root = ((curvatures / 2).sqrt()[..., None] * axes.mT).to(dtype)
        self.minimum = normal(n, d, seed=seed + 2, dtype=dtype)
        self.constant = torch.full((n, 1), offset, dtype=dtype).sqrt()

    def residuals(self, z):
        return torch.cat([(self.root @ (z - self.minimum)[..., None])[..., 0], self.constant], -1)


@SumOfSquares
def valley(z):
    """A curved valley with its floor at `z1 = z0^2`, in arithmetic that rounds alike however many samples there are."""
    return 0.5**0.5 * torch.stack([z[:, 0] - 1, z[:, 1] - z[:, 0] ** 2], -1)


@solvers_but(CHOICES | HASTY)
@given(n=st.integers(1, 5), d=st.integers(1, 6), seed=st.integers(0, 2**16))
@settings(max_examples=10)
def test_a_solver_finds_the_minimum_of_a_quadratic(kind, n, d, seed):
    fn = Quadratic(n, d, seed)
    answer = minimize(fn, torch.zeros(n, d, dtype=torch.float64), kind())
    assert answer.converged.all()
    # With curvature at least 1, a minimum is no further away than its gradient is long.
    assert (answer.z - fn.minimum).norm(dim=-1).max() <= kind().tolerance * d**0.5


@solvers_but(CHOICES | SEARCHES | REFERENCES)
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_single_precision_reaches_a_gradient_of_1e_4(kind, offset):
    # With an offset of 1000 an energy resolves 6e-5 at best, and has to be told from its gradient.
    fn = Quadratic(6, 5, dtype=torch.float32, offset=offset)
    answer = minimize(fn, torch.zeros(6, 5), kind(tolerance=1e-4))
    assert answer.z.dtype == torch.float32
    assert answer.converged.all()
    assert (answer.z - fn.minimum).norm(dim=-1).max() <= 1e-4 * 5**0.5


@solvers
def test_the_answer_of_a_sample_does_not_depend_on_the_rest_of_the_batch(kind):
    starts = 0.5 * normal(7, 2)
    together = minimize(valley, starts, make(kind))
    # Where all take as many steps by their nature, none can have been disturbed by another that has ended.
    assert len(together.steps.unique()) > 1 or kind.__name__ in CHOICES | {"MPPI"}
    for i in range(7):
        alone = minimize(valley, starts[i : i + 1], make(kind))
        assert alone.steps[0] == together.steps[i]
        assert torch.equal(alone.z[0], together.z[i])


@solvers_but(CHOICES)
@pytest.mark.parametrize("where", ["at the start", "on the way"])
def test_a_sample_that_leaves_the_numbers_costs_the_others_nothing(kind, where):
    starts = 0.5 * normal(5, 2)
    ill = torch.arange(5) == 2
    edge = -torch.inf if where == "at the start" else starts[2, 0] + 0.05

    @SumOfSquares
    def treacherous(z):
        return torch.where((ill & (z[:, 0] > edge))[:, None], torch.nan, valley.residuals(z))

    healthy, answer = minimize(valley, starts, kind()), minimize(treacherous, starts, kind())
    assert torch.equal(answer.z[~ill], healthy.z[~ill])
    assert torch.equal(answer.steps[~ill], healthy.steps[~ill])
    assert answer.z.isfinite().all()
    if kind.__name__ in SEARCHES and where == "on the way":  # they turn away from there, and end where they are better
        assert answer.converged.all()
        assert answer.energy[2] < valley(starts)[2]
    else:
        assert answer.status[2] in (Status.NOT_FINITE, Status.STALLED)
        assert "1 of 5 " + Status(int(answer.status[2])).name.lower().replace("_", " ") in answer.summary()


@solvers_but(CHOICES | SEARCHES)
def test_a_sample_that_starts_at_its_minimum_takes_no_step(kind):
    fn = Quadratic(4, 3)
    start = fn.minimum.clone()
    start[1] += 1
    answer = minimize(fn, start, kind())
    assert answer.steps[[0, 2, 3]].tolist() == [0, 0, 0]
    # The point itself, and what a solver looks at before its first step: for Newton each column of the Hessian.
    assert (answer.evaluations[[0, 2, 3]] <= 1 + max(3, getattr(kind(), "power_iterations", 0))).all()
    assert answer.steps[1] > 0
    assert torch.equal(answer.z[[0, 2, 3]], start[[0, 2, 3]])


@solvers_but(CHOICES)
def test_a_solver_takes_no_more_steps_than_it_may(kind):
    answer = minimize(Quadratic(3, 4), torch.zeros(3, 4, dtype=torch.float64), kind(steps=2, tolerance=1e-12))
    assert answer.steps.tolist() == [2, 2, 2]
    assert (answer.status == Status.OUT_OF_STEPS).all()


@solvers_but(CHOICES | HASTY)
def test_a_tighter_tolerance_is_met(kind):
    fn = Quadratic(3, 4)
    answer = minimize(fn, torch.zeros(3, 4, dtype=torch.float64), kind(tolerance=1e-7))
    assert answer.converged.all()
    assert (answer.z - fn.minimum).norm(dim=-1).max() <= 1e-7 * 4**0.5


@solvers
def test_a_solver_is_frozen_so_that_its_state_goes_in_and_comes_out(kind):
    solver = make(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        solver.steps = 3
    hash(solver)
    if kind.__name__ not in ENUMERATIONS:  # which hold a tensor, and are equal to themselves alone
        assert solver == kind()
        assert hash(solver) == hash(kind())
        assert dataclasses.replace(solver, steps=3).steps == 3
