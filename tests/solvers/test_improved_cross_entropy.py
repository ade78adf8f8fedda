import numpy as np
import pytest
import torch
from conftest import normal

from ebm import Box, CrossEntropyMethod, ImprovedCrossEntropy, minimize
from ebm.layout import Layout
from ebm.minimize import pose
from ebm.solvers.population import colored, filter_of, normals

TIME, ACTIONS = 16, 2


def plan(*batch):
    return torch.zeros(*batch, TIME, ACTIONS, dtype=torch.float64)


def far(z):
    """How far a point that each action moves by a tenth stays from where it shall be, added up along the way."""
    return (0.1 * z.cumsum(-2) - torch.tensor([0.9, -0.5], dtype=z.dtype)).square().sum((-1, -2))


def noise_of(color, count=4000, steps=TIME):
    layout = Layout.of(torch.zeros(1, steps, ACTIONS, dtype=torch.float64), torch.Size([1]))
    white = normals(0, torch.zeros(1, dtype=torch.long), count, torch.zeros(1, steps * ACTIONS, dtype=torch.float64))
    return colored(white, layout, color).reshape(count, steps, ACTIONS)


@pytest.mark.parametrize("color", [0.0, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("steps", [16, 17])
def test_the_power_of_the_noise_falls_as_the_law_says(color, steps):
    power = np.abs(np.fft.rfft(noise_of(color, steps=steps).numpy(), axis=1)) ** 2
    frequencies = np.fft.rfftfreq(steps)[1:]
    slope = np.polyfit(np.log(frequencies), np.log(power.mean((0, 2))[1:]), 1)[0]
    # Each power is the mean of 8000 exponential ones or so, good to 0.011, over a range of 2.1 in the logarithm.
    assert slope == pytest.approx(-color, abs=0.05)
    assert power.mean((0, 2))[0] == pytest.approx(power.mean((0, 2))[1], rel=0.1)  # of 8000 chi-square ones


@pytest.mark.parametrize("color", [0.0, 2.0])
def test_every_entry_of_the_noise_has_a_variance_of_1_and_mean_0(color):
    noise = noise_of(color)
    # Of 4000 draws a variance has a deviation of 0.022 and a mean one of 0.016; the largest of 32 is below 4 of those.
    assert (noise.var(0) - 1).abs().max() < 0.09
    assert noise.mean(0).abs().max() < 0.065


def test_the_filter_has_the_spectrum_that_numpy_makes_from_the_law():
    for steps in (1, 2, 7, 16):
        frequency = np.minimum(np.arange(steps), steps - np.arange(steps)).clip(1)
        amplitude = frequency ** (-2.0 / 2)
        amplitude = amplitude / np.sqrt((amplitude**2).mean())
        white = normal(steps, 3, seed=1)
        expected = np.fft.ifft(amplitude[:, None] * np.fft.fft(white.numpy(), axis=0), axis=0).real
        got = filter_of(steps, 2.0, white) @ white
        torch.testing.assert_close(got, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)  # other sums, rounded


def test_coordinates_of_one_time_stay_independent():
    noise = noise_of(2.0)
    correlation = (noise[..., 0] * noise[..., 1]).mean(0)
    assert correlation.abs().max() < 4 / 4000**0.5  # four standard deviations, for the largest of 16


def test_a_latent_with_one_axis_has_no_time_so_that_color_does_nothing():
    start = normal(4, 6)

    def bowl(z):
        return (z - 1).square().sum(-1)

    white, red = (minimize(bowl, start, ImprovedCrossEntropy(color=color, steps=5)) for color in (0.0, 3.0))
    assert torch.equal(white.z, red.z)


def test_each_part_of_a_tree_has_its_own_time():
    tree = {"long": torch.zeros(1, 8, 2), "none": torch.zeros(1, 3), "short": torch.zeros(1, 4, 1)}
    layout = Layout.of(tree, torch.Size([1]))
    white = normal(5, 1, 23, dtype=torch.float32)
    leaves = layout.tree(colored(white, layout, 2.0)[:, 0])
    plain = layout.tree(white[:, 0])
    assert torch.equal(leaves["none"], plain["none"])
    for name, steps in (("long", 8), ("short", 4)):
        torch.testing.assert_close(leaves[name], filter_of(steps, 2.0, white) @ plain[name])


def test_a_step_refits_to_the_elites_old_and_new_as_numpy_does():
    solver = ImprovedCrossEntropy(population=20, elites=4, keep=0.5, momentum=0.25, shrink=2.0, color=0.0, seed=5)
    problem, rows = pose(lambda z: (z - 1).square().sum(-1), normal(3, 2))
    point = solver.start(problem, rows)
    state = solver.init(problem, point)
    mean, deviation = rows.numpy(), np.full((3, 2), 0.5)
    kept = np.zeros((3, 0, 2))
    for step, size in enumerate([20, 10, 8, 8]):  # halved until twice the elites are left
        noise = normals(5, state.draws, size, rows).numpy()
        point, state = solver.step(problem, point, state)
        for i in range(3):
            pool = np.concatenate([mean[i] + deviation[i] * noise[:, 0], kept[i]])
            best = pool[np.argsort(((pool - 1) ** 2).sum(-1))[:4]]
            if i == 0:
                after, spread, stay = [], [], []
            after.append(0.25 * mean[i] + 0.75 * best.mean(0))
            spread.append(0.25 * deviation[i] + 0.75 * best.std(0))
            stay.append(best[:2])
        mean, deviation, kept = np.stack(after), np.stack(spread), np.stack(stay)
        # The same sums in another order, step after step.
        torch.testing.assert_close(state.mean, torch.from_numpy(mean), rtol=1e-11, atol=1e-12, msg=f"step {step}")
        torch.testing.assert_close(state.deviation, torch.from_numpy(deviation), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shrink", [1.0, 1.25, 2.0])
def test_evaluations_are_those_that_were_made(shrink):
    calls = []

    def counted(z):
        calls.append(len(z))
        return far(z)

    solver = ImprovedCrossEntropy(shrink=shrink, steps=12, tolerance=0.0)
    problem, rows = pose(counted, plan(1), ())
    calls.clear()
    point = solver.start(problem, rows)
    state = solver.init(problem, point)
    told = []
    for step in range(12):
        point, state = solver.step(problem, point, state)
        told.append(int(solver.evaluations(torch.tensor([step + 1]), state, 32)))
        assert told[-1] == sum(calls)
    assert minimize(far, plan(1), solver).evaluations.item() == told[-1]


def test_in_a_few_steps_a_plan_is_better_than_that_of_the_plain_method_for_fewer_evaluations():
    start = plan(8) + 0.1 * normal(8, TIME, ACTIONS)
    box = Box(-1.0, 1.0)
    improved = minimize(far, start, ImprovedCrossEntropy(steps=4), within=box)
    plain = minimize(far, start, CrossEntropyMethod(steps=4, deviation=0.5), within=box)
    assert (improved.energy < plain.energy).all()
    assert (improved.evaluations < plain.evaluations).all()
    assert (improved.z.abs() <= 1).all()


def test_the_answer_never_gets_worse_with_another_step():
    energies = [minimize(far, plan(3), ImprovedCrossEntropy(steps=steps)).energy for steps in range(1, 8)]
    assert (torch.stack(energies).diff(dim=0) <= 0).all()


def test_samples_of_several_batch_axes_are_each_alone():
    target = normal(2, 3, seed=2)

    def fn(z, target):
        return (z.cumsum(-2) - target[..., None, None]).square().sum((-1, -2))

    start = plan(2, 3)
    together = minimize(fn, start, ImprovedCrossEntropy(steps=6), given=(target,))
    for i in range(2):
        alone = minimize(fn, start[i], ImprovedCrossEntropy(steps=6), given=(target[i],))
        assert torch.equal(alone.z, together.z[i])


def test_where_no_candidate_has_a_finite_energy_the_distribution_stays():
    solver = ImprovedCrossEntropy()
    problem, rows = pose(lambda z: torch.where((z == 0).all(-1), 1.0, torch.nan), torch.zeros(2, 3))
    point = solver.start(problem, rows)
    after, state = solver.step(problem, point, solver.init(problem, point))
    assert torch.equal(after.z, rows)
    assert torch.equal(state.mean, rows)
    assert (state.deviation == 0.5).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elites": 1}, "needs two of them.*got 1 elites of 64"),
        ({"population": 5}, "got 10 elites of 5"),
        ({"deviation": 0.0}, "`deviation` of ImprovedCrossEntropy is positive and finite, not 0.0"),
        ({"momentum": 1.0}, "`momentum` is a share, from 0 to below 1, not 1.0"),
        ({"keep": -0.1}, "`keep` is a share, from 0 to below 1, not -0.1"),
        ({"shrink": 0.5}, "`shrink` of at least 1 in each step, not 0.5"),
        ({"color": -1.0}, "from 0 for white noise, not -1.0"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ImprovedCrossEntropy(**settings)
