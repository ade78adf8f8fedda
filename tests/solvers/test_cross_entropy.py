import numpy as np
import pytest
import torch
from conftest import normal

from ebm import CrossEntropyMethod, minimize
from ebm.minimize import pose
from ebm.solvers.population import normals


def bowl(z):
    return ((z - 1) * torch.tensor([1.0, 3.0], dtype=z.dtype)).square().sum(-1)


def test_a_step_refits_mean_and_deviation_to_the_elites_as_numpy_does():
    solver = CrossEntropyMethod(population=12, elites=3, deviation=0.8, smoothing=0.25, seed=5)
    problem, rows = pose(bowl, normal(4, 2))
    point = solver.start(problem, rows)
    state = solver.init(problem, point)
    noise = normals(5, state.draws, 12, rows)
    _, after = solver.step(problem, point, state)
    for i in range(4):
        candidates = (rows[i] + 0.8 * noise[:, 0]).numpy()
        energies = (candidates - 1) ** 2 @ np.array([1.0, 9.0])
        elites = candidates[np.argsort(energies)[:3]]
        # The same sums in another order.
        torch.testing.assert_close(after.mean[i], torch.from_numpy(elites.mean(0)), rtol=1e-12, atol=1e-14)
        expected = 0.25 * 0.8 + 0.75 * torch.from_numpy(elites.std(0))
        torch.testing.assert_close(after.deviation[i], expected, rtol=1e-12, atol=1e-14)


def test_its_answer_changes_neither_with_the_scale_of_an_energy_nor_with_its_offset():
    start = normal(5, 2)
    plain = minimize(bowl, start, CrossEntropyMethod(steps=8))
    # A power of two and a sum of few digits do not change how energies compare.
    scaled = minimize(lambda z: 1024 * bowl(z), start, CrossEntropyMethod(steps=8))
    cubed = minimize(lambda z: bowl(z) ** 3, start, CrossEntropyMethod(steps=8))
    assert torch.equal(plain.z, scaled.z)
    assert torch.equal(plain.z, cubed.z)


def test_a_minimum_deviation_keeps_it_searching():
    solver = CrossEntropyMethod(minimum_deviation=0.05, steps=40)
    problem, rows = pose(bowl, normal(4, 2))
    point = solver.start(problem, rows)
    state = solver.init(problem, point)
    for _ in range(40):
        point, state = solver.step(problem, point, state)
    assert (state.deviation == 0.05).all()
    assert not minimize(bowl, normal(4, 2), solver).converged.any()


def test_where_no_candidate_has_a_finite_energy_the_distribution_stays():
    solver = CrossEntropyMethod()
    problem, rows = pose(lambda z: torch.where((z == 0).all(-1), 1.0, torch.nan), torch.zeros(2, 3))
    point = solver.start(problem, rows)
    after, state = solver.step(problem, point, solver.init(problem, point))
    assert torch.equal(after.z, rows)
    assert torch.equal(state.mean, rows)
    assert (state.deviation == 1).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elites": 1}, "needs two of them.*got 1 elites of 64"),
        ({"population": 5}, "got 8 elites of 5"),
        ({"deviation": 0.0}, "`deviation` of CrossEntropyMethod is positive and finite, not 0.0"),
        ({"smoothing": 1.0}, "from 0 to below 1, not 1.0"),
        ({"minimum_deviation": 2.0}, "from 0 to the first deviation, 1.0, not 2.0"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        CrossEntropyMethod(**settings)
