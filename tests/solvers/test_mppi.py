import numpy as np
import pytest
import torch
from conftest import normal
from scipy.special import softmax

from ebm import MPPI, minimize
from ebm.minimize import pose
from ebm.solvers.population import normals


def bowl(z):
    return ((z - 1) * torch.tensor([1.0, 3.0], dtype=z.dtype)).square().sum(-1)


def test_a_step_moves_the_mean_to_the_exponentially_weighted_one():
    solver = MPPI(population=12, temperature=0.3, deviation=0.8, seed=5)
    problem, rows = pose(bowl, normal(4, 2))
    point = solver.start(problem, rows)
    state = solver.init(problem, point)
    noise = normals(5, state.draws, 12, rows)
    _, after = solver.step(problem, point, state)
    for i in range(4):
        candidates = np.concatenate([rows[i][None].numpy(), (rows[i] + 0.8 * noise[:, 0]).numpy()])
        energies = (candidates - 1) ** 2 @ np.array([1.0, 9.0])
        weights = softmax(-energies / (0.3 * energies.std()))
        # The same sums in another order.
        torch.testing.assert_close(after.mean[i], torch.from_numpy(weights @ candidates), rtol=1e-12, atol=1e-14)


def test_the_deviation_is_annealed_and_it_has_converged_when_that_is_below_the_tolerance():
    answer = minimize(bowl, normal(4, 2), MPPI(deviation=1.0, decay=0.5, tolerance=1e-3))
    assert answer.converged.all()
    assert answer.steps.tolist() == [10] * 4  # 2^-10 is the first power of a half below 1e-3


def test_a_deviation_that_is_fixed_takes_all_of_its_steps_or_stalls():
    answer = minimize(bowl, normal(4, 2), MPPI(decay=1.0, steps=60, patience=1000))
    assert not answer.converged.any()
    # The best of 60 populations of deviation 1 about the minimum lies closer to it than one in a hundred would.
    assert (answer.z - 1).abs().max() < 0.2


def test_neither_the_scale_of_an_energy_nor_its_offset_changes_the_way():
    start = normal(5, 2)
    plain = minimize(bowl, start, MPPI(steps=8))
    other = minimize(lambda z: 1000 * bowl(z) + 50, start, MPPI(steps=8))
    # An offset rounds the energies, of order 1e3, at 1e-13.
    torch.testing.assert_close(plain.z, other.z, rtol=1e-9, atol=1e-9)


def test_at_a_low_temperature_the_mean_is_the_best_candidate():
    solver = MPPI(temperature=1e-6)
    problem, rows = pose(bowl, normal(4, 2) - 3)
    point = solver.start(problem, rows)
    after, state = solver.step(problem, point, solver.init(problem, point))
    # The next best has a weight of exp(-1e4) or so.
    torch.testing.assert_close(state.mean, after.z, rtol=1e-12, atol=1e-12)


def test_on_a_plateau_every_candidate_weighs_the_same():
    solver = MPPI(population=16)
    problem, rows = pose(lambda z: 0 * z[:, 0] + 3, normal(2, 2))
    point = solver.start(problem, rows)
    state = solver.init(problem, point)
    noise = normals(0, state.draws, 16, rows)
    _, after = solver.step(problem, point, state)
    expected = rows + noise.sum(0) / 17  # the mean itself is a candidate too
    torch.testing.assert_close(after.mean, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "`temperature` of MPPI is positive and finite, not 0.0"),
        ({"deviation": -1.0}, "`deviation` of MPPI is positive and finite, not -1.0"),
        ({"population": 0}, "`population` of MPPI is positive and finite, not 0"),
        ({"decay": 1.5}, "`decay` above 0 and up to 1 .*not by 1.5"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        MPPI(**settings)
