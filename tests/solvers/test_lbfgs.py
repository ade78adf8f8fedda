from itertools import pairwise

import pytest
import torch
from conftest import normal

from ebm import LBFGS, GradientDescent, minimize
from ebm.minimize import pose


def rosenbrock(z):
    """In any number of coordinates: a sum of valleys, each bent by the one before."""
    return (100 * (z[:, 1:] - z[:, :-1].square()).square() + (1 - z[:, :-1]).square()).sum(-1)


def walk(solver, fn, z, steps):
    """Each point and memory that the solver comes to."""
    problem, z = pose(fn, z)
    point = problem(z)
    state = solver.init(problem, point)
    for _ in range(steps):
        yield point, state
        point, state = solver.step(problem, point, state)


def by_age(memory, i):
    """The pairs of a sample, oldest first: the slot to be written next holds the oldest."""
    order = memory.pairs.oldest[i].item()
    return memory.pairs.moves[i].roll(-order, 0), memory.pairs.changes[i].roll(-order, 0)


def dense_inverse_hessian(moves, changes):
    """BFGS by its definition, `H <- (1 - s y'/y's) H (1 - y s'/y's) + s s'/y's`, from `y's / y'y` of the last pair."""
    pairs = [(s, y) for s, y in zip(moves, changes, strict=True) if s.any()]
    identity = torch.eye(moves.shape[-1], dtype=moves.dtype)
    if not pairs:
        return identity
    last_move, last_change = pairs[-1]
    inverse = identity * (last_move @ last_change) / last_change.square().sum()
    for s, y in pairs:
        left = identity - torch.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + torch.outer(s, s) / (s @ y)
    return inverse


@pytest.mark.parametrize("history", [1, 3, 10])
def test_its_direction_is_that_of_the_bfgs_matrix_written_out(history):
    checked = 0
    for point, memory in walk(LBFGS(history=history), rosenbrock, normal(3, 4), steps=25):
        fresh = memory.length == 1  # after a step was taken; a search that goes on keeps the direction it had
        for i in torch.nonzero(fresh & (memory.pairs.curvatures > 0).any(-1)).flatten():
            inverse = dense_inverse_hessian(*by_age(memory, i))
            expected = -inverse @ point.gradient[i]
            # Two ways to multiply up to 10 rank-one matrices, of condition up to 1e4.
            torch.testing.assert_close(memory.direction[i], expected, rtol=1e-7, atol=1e-9)
            checked += 1
    assert checked > 20


def test_it_remembers_the_last_moves_and_changes_of_gradient():
    steps = list(walk(LBFGS(history=3), rosenbrock, normal(1, 4), steps=30))
    points = [point for point, _ in steps]
    taken = [i for i in range(1, len(points)) if not torch.equal(points[i].z, points[i - 1].z)]
    moves = torch.cat([points[i].z - points[i - 1].z for i in taken[-3:]])
    changes = torch.cat([points[i].gradient - points[i - 1].gradient for i in taken[-3:]])
    remembered = by_age(steps[-1][1], 0)
    assert torch.equal(remembered[0], moves)
    assert torch.equal(remembered[1], changes)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_first_step_is_no_longer_than_one_however_steep_the_energy(scale):
    (before, _), (after, _) = walk(LBFGS(), lambda z: scale * (z - 3).square().sum(-1), normal(5, 4), steps=2)
    assert (after.z - before.z).abs().sum(-1).max() <= 1 + 1e-12  # rounding
    assert (after.z != before.z).any()


def test_an_accepted_step_lowers_the_energy_as_much_as_armijo_asks():
    solver = LBFGS()
    steps = list(walk(solver, rosenbrock, normal(6, 4), steps=20))
    for (point, memory), (after, _) in pairwise(steps):
        moved = (after.z != point.z).any(-1)
        promised = memory.length * (memory.direction * point.gradient).sum(-1)
        # Up to the rounding of the energy.
        limit = point.energy + solver.decrease * promised + 1e-14 * point.energy.abs()
        assert (after.energy <= limit)[moved].all()
        assert torch.equal(after.energy[~moved], point.energy[~moved])


def test_a_refused_step_is_tried_again_at_half_its_length():
    steps = list(walk(LBFGS(), rosenbrock, normal(6, 4), steps=20))
    refusals = 0
    for (point, memory), (after, then) in pairwise(steps):
        refused = (after.z == point.z).all(-1) & memory.pairs.informed
        assert torch.equal(then.length[refused], memory.length[refused] / 2)
        assert torch.equal(then.direction[refused], memory.direction[refused])
        refusals += int(refused.sum())
    assert refusals > 5


def test_a_first_step_that_is_refused_is_tried_again_where_the_secant_says_that_the_slope_is_zero():
    curvature = 5.0
    problem, start = pose(lambda z: curvature / 2 * z.square().sum(-1), torch.tensor([[0.2]], dtype=torch.float64))
    solver, point = LBFGS(), problem(start)
    point, memory = solver.step(problem, point, solver.init(problem, point))
    # From 0.2 down a slope of 1 for a length of 1 leads to -0.8, which is higher; the minimum is a fifth of that away.
    assert torch.equal(point.z, start)
    torch.testing.assert_close(memory.length, torch.tensor([1 / curvature], dtype=torch.float64), atol=1e-12, rtol=0)


def test_its_directions_lead_down():
    for point, memory in walk(LBFGS(), rosenbrock, normal(6, 4), steps=25):
        assert ((memory.direction * point.gradient).sum(-1) < 0).all()


def test_negative_curvature_is_not_remembered_and_does_not_stop_it():
    # A double well started on its hump, where the curvature is negative.
    answer = minimize(lambda z: (z.square() - 1).square().sum(-1), 0.1 * normal(5, 2), LBFGS(tolerance=1e-8))
    assert answer.converged.all()
    # A curvature of 8 at the wells.
    torch.testing.assert_close(answer.z.abs(), torch.ones(5, 2, dtype=torch.float64), atol=1e-8, rtol=0)


def test_a_bowl_of_very_different_curvatures_takes_it_a_tenth_of_the_steps_of_gradient_descent():
    curvatures = torch.logspace(0, 2, 10, dtype=torch.float64)
    start = torch.ones(1, 10, dtype=torch.float64)

    def bowl(z):
        return (curvatures * z.square()).sum(-1) / 2

    quick = minimize(bowl, start, LBFGS(tolerance=1e-8))
    slow = minimize(
        bowl, start, GradientDescent(rate=0.018, tolerance=1e-8, steps=2000)
    )  # the rate is near its limit of 2 / 100
    assert quick.converged.all()
    assert slow.converged.all()
    assert 10 * quick.steps < slow.steps


def test_it_finds_its_way_back_from_where_the_energy_is_not_defined():
    # -log has no value below zero, where a first step of length 1 from 0.5 leads.
    answer = minimize(lambda z: (4 * z - z.log()).sum(-1), torch.full((2, 3), 0.5, dtype=torch.float64), LBFGS())
    assert answer.converged.all()
    # A curvature of 16 at 1/4.
    torch.testing.assert_close(answer.z, torch.full_like(answer.z, 0.25), atol=1e-5, rtol=0)


def test_it_does_not_take_the_rounding_of_an_energy_for_a_rise():
    # An energy of 5 in single precision is good to 5e-7: near a minimum a step that helps may seem to rise by that.
    targets = torch.tensor([2.0, 3.0, 5.0])
    start = normal(64, 3, dtype=torch.float32)
    answer = minimize(lambda z: (z.pow(4) / 4 - targets * z).sum(-1), start, LBFGS(tolerance=1e-5))
    assert answer.converged.all()


def test_it_steps_short_of_a_point_where_the_energy_has_no_gradient():
    # The first step of length 1 from 1 leads to 0 exactly, where this root has no derivative but the energy is lower.
    answer = minimize(lambda z: ((z + 1).square() / 2 + 0 * z.square().sqrt()).sum(-1), torch.ones(1, 1), LBFGS())
    assert answer.converged.all()
    # A curvature of 1 and a gradient of 1e-4.
    torch.testing.assert_close(answer.z, -torch.ones(1, 1), atol=1e-4, rtol=0)
