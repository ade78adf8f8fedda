"""What holds for every solver that infers plans: a batch of episodes, each by itself, whose best plans are known."""

import dataclasses

import numpy as np
import pytest
import scipy.optimize
import torch
from conftest import every, normal

from ebm import AugmentedLagrangian, Box, Restarts, Status, SumOfSquares, minimize
from ebm.solvers import Solver

HORIZON = 5
SEARCHES = {"CrossEntropyMethod", "ImprovedCrossEntropy", "MPPI"}
# Two are for plans of choices, and SciPy is a reference.
LEFT_OUT = {"CategoricalCrossEntropy", "Enumeration", "SciPy"}
CASES = [case for case in every("ebm.solvers", Solver) if case.id not in LEFT_OUT]
planners = pytest.mark.parametrize("kind", CASES)
searches = pytest.mark.parametrize("kind", [case for case in CASES if case.id in SEARCHES])
BOX = Box(-0.7, 0.4)  # neither is a number in binary


def residuals(z, place, speed, goal):
    """Of a mass on a line that is pushed: its distances from the goal, and the pushes. Coordinate by coordinate."""
    speeds = speed[:, None] + 0.2 * z.cumsum(-2)[..., 0]
    places = place[:, None] + speeds.cumsum(-1)
    return torch.cat([places - goal[:, None], 0.3 * z[..., 0]], -1)


ENERGY = SumOfSquares(residuals)


def episodes(count=6, dtype=torch.float64):
    """Plans `(count, horizon, 1)` to start from, and what they are given."""
    place, speed, goal = normal(3, count, seed=3, dtype=dtype)
    return 0.1 * normal(count, HORIZON, 1, seed=4, dtype=dtype), (place, 0.1 * speed, goal)


def best(given, box=BOX):
    """The best plans by the bounded least squares of SciPy (Stark and Parker 1995), one episode after another."""
    plans = []
    for i in range(len(given[0])):
        row = tuple(part[i : i + 1].double() for part in given)
        zero = torch.zeros(1, HORIZON, 1, dtype=torch.float64)
        offset = residuals(zero, *row)[0]
        columns = [residuals(zero.index_fill(1, torch.tensor([t]), 1.0), *row)[0] - offset for t in range(HORIZON)]
        matrix = torch.stack(columns, 1).numpy()
        solved = scipy.optimize.lsq_linear(matrix, -offset.numpy(), (box.lower, box.upper), "bvls", tol=1e-14)
        plans.append(solved.x)
    return torch.from_numpy(np.stack(plans))[..., None]


def recorded(seen):
    def fn(z, *given):
        seen.append(z.detach().clone())
        return residuals(z, *given)

    return SumOfSquares(fn)


def rows(given, index):
    return tuple(part[index] for part in given)


def few(kind, steps=4):
    """As control uses it: so many steps, whether it has converged or not."""
    return kind(steps=steps)


@planners
def test_the_best_plan_in_the_box_is_found(kind):
    start, given = episodes()
    expected = best(given)
    assert ((expected == BOX.lower) | (expected == BOX.upper)).any()
    assert ((expected > BOX.lower) & (expected < BOX.upper)).any()
    lowest, highest = ENERGY(expected, *given), ENERGY(start, *given)
    answer = minimize(ENERGY, start, kind(steps=5000), given=given, within=BOX)
    assert answer.converged.all()
    above = (answer.energy - lowest) / (highest - lowest)
    # The square of a gradient of 1e-4 over a curvature of 0.09; a search that has narrowed may not be quite there.
    assert above.max() < (0.05 if kind.__name__ in SEARCHES else 1e-6)
    assert above.min() > -1e-9  # rounding


@planners
@pytest.mark.parametrize("restarts", [1, 3])
def test_episodes_in_one_batch_are_planned_for_as_one_by_one(kind, restarts):
    start, given = episodes()
    together = minimize(ENERGY, start, few(kind), given=given, within=BOX, restarts=restarts)
    for i in range(len(start)):
        row = slice(i, i + 1)
        alone = minimize(ENERGY, start[row], few(kind), given=rows(given, row), within=BOX, restarts=restarts)
        assert torch.equal(alone.z[0], together.z[i])
        for field in ("energy", "status", "steps", "evaluations"):
            assert getattr(alone, field)[0] == getattr(together, field)[i]


@planners
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_plan_that_is_tried_and_the_answer_are_inside_the_box_to_the_last_bit(kind, dtype):
    start, given = episodes(dtype=dtype)
    seen = []
    restarts = Restarts(3, 2.0)
    answer = minimize(recorded(seen), 5 * start, few(kind, 8), given=given, within=BOX, restarts=restarts, trace=True)
    assert answer.z.dtype == dtype
    tried = torch.cat([part.reshape(-1, HORIZON) for part in (*seen, answer.z, answer.trace.z if answer.trace else [])])
    lower, upper = (torch.tensor(bound, dtype=dtype) for bound in (BOX.lower, BOX.upper))
    assert (tried >= lower).all()
    assert (tried <= upper).all()
    assert ((tried == lower) | (tried == upper)).any()


@planners
def test_steps_and_evaluations_are_reported_for_each_episode(kind):
    start, given = episodes()
    answer = minimize(ENERGY, start, dataclasses.replace(few(kind), tolerance=0.0), given=given, within=BOX)
    assert (answer.steps <= 4).all()
    assert (answer.steps >= 1).all()
    assert (answer.evaluations > answer.steps).all()
    assert (answer.energy <= ENERGY(BOX.project(start), *given)).all()


@planners
def test_a_model_that_makes_nan_fails_those_episodes_alone(kind):
    start, given = episodes()
    ill = torch.tensor([False, True, False, False, True, False])
    bad = torch.where(ill, torch.nan, 0.0).double()

    @SumOfSquares
    def broken(z, place, speed, goal, bad):
        return residuals(z, place + bad, speed, goal)

    answer = minimize(broken, start, few(kind), given=(*given, bad), within=BOX)
    healthy = minimize(ENERGY, start, few(kind), given=given, within=BOX)
    assert torch.equal(answer.z[~ill], healthy.z[~ill])
    assert torch.equal(answer.status[~ill], healthy.status[~ill])
    assert (answer.status[ill] == Status.NOT_FINITE).all()
    assert torch.equal(answer.z[ill], BOX.project(start[ill]))


@pytest.mark.parametrize("kind", [case for case in CASES if not case.values[0].least_squares])
def test_an_infeasible_guardrail_is_flagged_in_its_episode_and_the_least_violating_plan_is_returned(kind):
    start, given = episodes(3)
    # The last push, of 0.4 at most, shall be at least so much.
    floor = torch.tensor([0.3, 0.9, -0.5], dtype=torch.float64)
    settings = AugmentedLagrangian(kind(steps=100), rounds=10, tolerance=1e-2)
    answer = settings.minimize(
        lambda z, *held: ENERGY(z, *held[:-1]),
        start,
        inequality=lambda z, *held: held[-1][:, None] - z[:, -1],
        given=(*given, floor),
        within=BOX,
    )
    assert answer.feasible.tolist() == [True, False, True]
    assert not answer.converged[1]
    # All that can be done is to push as hard as the box allows; a search comes near to it.
    torch.testing.assert_close(answer.z[1, -1, 0].item(), 0.4, rtol=0, atol=1e-2)
    torch.testing.assert_close(answer.violation[1].item(), 0.5, rtol=0, atol=1e-2)
    assert torch.equal(BOX.project(answer.z), answer.z)
    with pytest.raises(RuntimeError, match="1 of 3 infeasible"):
        answer.raise_if_infeasible()


@searches
def test_a_few_populations_make_a_plan_that_is_no_worse_than_the_start(kind):
    start, given = episodes()
    solver = kind(population=64, steps=4)
    cold = minimize(ENERGY, start, solver, given=given, within=BOX)
    assert (cold.status == Status.OUT_OF_STEPS).all()
    assert (cold.steps == 4).all()
    assert (cold.evaluations <= 1 + 4 * 65).all()
    warm = minimize(ENERGY, cold.z, solver, given=given, within=BOX)
    assert (cold.energy < ENERGY(BOX.project(start), *given)).all()
    assert (warm.energy <= cold.energy).all()


@searches
def test_a_warm_start_is_worth_populations(kind):
    start, given = episodes()
    expected = best(given)
    lowest = ENERGY(expected, *given)
    near = expected + 0.05 * normal(*start.shape, seed=9)
    solver = kind(population=64, steps=2, deviation=0.1)
    above = [(minimize(ENERGY, z, solver, given=given, within=BOX).energy - lowest).mean() for z in (near, start + 0.5)]
    assert above[0] < 0.2 * above[1]
