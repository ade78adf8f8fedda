import itertools

import numpy as np
import pytest
import torch
from conftest import normal
from torch.nn.functional import one_hot

from ebm import Box, CategoricalCrossEntropy, Enumeration, Simplex, Status, minimize
from ebm.minimize import pose
from ebm.solvers.population import uniforms

TIME, ACTIONS = 4, 3


def walk(z, moves, goal):
    """How far a walk, one of three moves at each step, ends from its goal; with a price on each change of mind."""
    place = (z.cumsum(-2)[..., -1, :, None] * moves).sum(-2)
    return (place - goal).square().sum(-1) + 0.1 * z.diff(dim=-2).abs().sum((-1, -2))


def problem(count=6):
    return torch.zeros(count, TIME, ACTIONS).double(), (normal(count, ACTIONS, 2), 2 * normal(count, 2, seed=1))


def everything():
    return torch.stack([one_hot(torch.tensor(c), ACTIONS).double() for c in itertools.product(range(3), repeat=TIME)])


def is_one_hot(z):
    return bool(((z == 0) | (z == 1)).all() and (z.sum(-1) == 1).all())


def test_it_finds_what_trying_everything_finds():
    start, given = problem()
    exact = minimize(walk, start, Enumeration(everything()), given=given)
    answer = minimize(walk, start, CategoricalCrossEntropy(population=128), given=given)
    assert answer.converged.all()
    assert is_one_hot(answer.z)
    torch.testing.assert_close(answer.energy, exact.energy, rtol=1e-12, atol=1e-12)  # of a walk and its reverse


def test_a_step_refits_the_probabilities_to_the_elites_as_numpy_does():
    start, given = problem(3)
    solver = CategoricalCrossEntropy(population=20, elites=4, smoothing=0.25, exploration=0.6, seed=3)
    posed, rows = pose(walk, start, given)
    point = solver.start(posed, rows)
    state = solver.init(posed, point)
    assert is_one_hot(point.z.reshape(3, TIME, ACTIONS))
    before = state.probability.reshape(3, TIME, ACTIONS).numpy()
    np.testing.assert_allclose(before[0, 0], [0.6, 0.2, 0.2])  # 0.4 of the start, and the rest spread evenly
    uniform = uniforms(3, state.draws, 20, TIME * ACTIONS, rows).reshape(20, TIME, ACTIONS)[..., 0].numpy()
    _, after = solver.step(posed, point, state)
    for i in range(3):
        drawn = np.array([[np.searchsorted(before[i, t].cumsum()[:-1], u[t]) for t in range(TIME)] for u in uniform])
        plans = np.eye(ACTIONS)[drawn]
        energies = walk(torch.from_numpy(plans), given[0][i], given[1][i]).numpy()
        shares = plans[np.argsort(energies, kind="stable")[:4]].mean(0)
        expected = torch.from_numpy(0.25 * before[i] + 0.75 * shares)
        torch.testing.assert_close(after.probability[i].reshape(TIME, ACTIONS), expected, rtol=1e-12, atol=1e-12)


def test_candidates_are_drawn_with_their_probabilities():
    seen = []

    def recorded(z):
        seen.append(z.clone())
        return z[..., 0]

    start = torch.tensor([[0.0, 1.0, 0.0, 0.0]]).double()
    minimize(recorded, start, CategoricalCrossEntropy(population=20000, exploration=0.4, steps=1), given=())
    shares = torch.cat([z for z in seen if len(z) > 1]).mean(0)
    # Of 20,000 draws a share errs by 0.0035 at most, four times that.
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.7, 0.1, 0.1]).double(), rtol=0, atol=0.014)


def test_everything_that_is_tried_is_one_hot_in_each_part_of_a_tree():
    seen = []

    def recorded(z):
        seen.append(z)
        return (z["a"] * torch.arange(3.0)).sum(-1) + (z["b"] * torch.arange(5.0)).sum((-1, -2))

    start = {"a": torch.zeros(2, 3), "b": torch.rand(2, 4, 5)}
    answer = minimize(recorded, start, CategoricalCrossEntropy(), given=())
    assert all(is_one_hot(z["a"]) and is_one_hot(z["b"]) for z in seen[2:])  # after two looks at the start itself
    assert (answer.energy == 0).all()


def test_episodes_together_are_those_alone():
    start, given = problem()
    solver = CategoricalCrossEntropy(population=16, elites=4)
    together = minimize(walk, start, solver, given=given)
    for i in range(len(start)):
        row = slice(i, i + 1)
        alone = minimize(walk, start[row], solver, given=tuple(part[row] for part in given))
        assert torch.equal(alone.z[0], together.z[i])
        assert alone.steps[0] == together.steps[i]


def test_a_warm_start_is_a_candidate_and_a_few_steps_are_counted():
    start, given = problem()
    solver = CategoricalCrossEntropy(population=16, elites=4, steps=3)
    cold = minimize(walk, start, solver, given=given)
    assert (cold.evaluations == 1 + 3 * 17).all()
    assert (cold.status == Status.OUT_OF_STEPS).all()
    warm = minimize(walk, cold.z, solver, given=given)
    assert (warm.energy <= cold.energy).all()


def test_where_the_energy_is_not_defined_it_turns_away():
    def walled(z):
        return torch.where(z[..., 2] > 0, torch.nan, z[..., 1])

    answer = minimize(walled, torch.tensor([[0.0, 1.0, 0.0]] * 3), CategoricalCrossEntropy())
    assert torch.equal(answer.z, torch.tensor([[1.0, 0.0, 0.0]] * 3))


@pytest.mark.parametrize("within", [Box(-1.0, 1.0), Box(0.0, 1.0), Simplex()], ids=repr)
def test_constraints_that_one_hot_latents_keep_do_no_harm(within):
    start, given = problem()
    free = minimize(walk, start, CategoricalCrossEntropy(), given=given)
    assert torch.equal(minimize(walk, start, CategoricalCrossEntropy(), given=given, within=within).z, free.z)


def test_constraints_that_they_cannot_keep_are_refused():
    start, given = problem()
    with pytest.raises(ValueError, match="one-hot, which the constraints on z do not let it be"):
        minimize(walk, start, CategoricalCrossEntropy(), given=given, within=Box(-0.5, 0.5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elites": 0}, "got 0 elites of 64"),
        ({"population": 5}, "got 8 elites of 5"),
        ({"smoothing": 1.0}, r"not 1\.0 and 1\.0"),
        ({"exploration": 0.0}, r"not 0\.5 and 0\.0"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CategoricalCrossEntropy(**settings)
