import pytest
import scipy.stats
import torch
from conftest import normal

from ebm import LBFGS, MPPI, CrossEntropyMethod, ImprovedCrossEntropy, minimize
from ebm.constraints import Ball, Box, NonNegative, Simplex, Sphere
from ebm.minimize import pose
from ebm.solvers.population import normals

searches = pytest.mark.parametrize("kind", [CrossEntropyMethod, ImprovedCrossEntropy, MPPI])
patient = pytest.mark.parametrize("kind", [CrossEntropyMethod, MPPI])  # come all the way, not the hasty one
CONSTRAINTS = [Box(-1.0, 0.7), Ball(0.9), Sphere(1.3), Simplex(2.0), NonNegative()]


def draws(seed, steps, population=256, features=8, dtype=torch.float64):
    like = torch.zeros(3, features, dtype=dtype)
    return torch.stack([normals(seed, torch.full((3,), step), population, like)[:, 0] for step in range(steps)])


def bowl(z):
    return ((z - 2) * torch.arange(1, z.shape[-1] + 1, dtype=z.dtype)).square().sum(-1)


@pytest.mark.parametrize("seed", [0, 1, -1, 2**40 + 7])
def test_noise_is_standard_normal(seed):
    noise = draws(seed, 200)
    assert scipy.stats.kstest(noise.flatten().numpy(), "norm").pvalue > 1e-3  # of a sound generator, 1 seed in 1000


def test_noise_of_different_steps_seeds_and_coordinates_is_uncorrelated():
    by_step = draws(0, 100).flatten(1)
    by_seed = torch.stack([draws(seed, 1).flatten() for seed in range(100)])
    by_coordinate = draws(0, 100).flatten(0, 1).T
    for rows in (by_step, by_seed, by_coordinate):
        scores = (torch.corrcoef(rows) - torch.eye(len(rows))) * rows.shape[1] ** 0.5
        assert scores.abs().max() < 5  # of 5000 standard normal scores one in a hundred sets has one that large


def test_noise_is_the_same_in_single_and_double_precision():
    # Quantiles of the same exact numbers: in the tails one rounding of them is up to 1e-6 of noise, and more at 5.3.
    torch.testing.assert_close(draws(3, 5, dtype=torch.float32).double(), draws(3, 5), atol=1e-4, rtol=1e-5)


@searches
def test_the_same_seed_gives_the_same_answer_and_another_seed_another(kind):
    start = normal(4, 3)
    first, again, other = (minimize(bowl, start, kind(seed=seed, steps=5)).z for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@searches
def test_no_random_state_is_touched(kind):
    before = torch.get_rng_state()
    minimize(bowl, normal(4, 3), kind(steps=5))
    assert torch.equal(before, torch.get_rng_state())


@searches
@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=repr)
def test_every_candidate_and_the_answer_are_inside_the_constraints_to_the_last_bit(kind, constraint):
    seen = []

    def recorded(z):
        seen.append(z.clone())
        return bowl(z)

    answer = minimize(recorded, constraint.project(normal(5, 3)), kind(steps=10), within=constraint, given=())
    everywhere = torch.cat([*seen, answer.z])
    assert len(everywhere) > 5 * 10 * 20  # the smallest population
    assert torch.equal(constraint.project(everywhere), everywhere)


@searches
def test_a_minimum_at_the_corner_of_a_box_is_found_exactly(kind):
    answer = minimize(bowl, torch.zeros(3, 2, dtype=torch.float64), kind(), within=Box(-0.3, 0.4))
    assert answer.converged.all()
    assert torch.equal(answer.z, torch.full_like(answer.z, 0.4))


@searches
@pytest.mark.parametrize("kind_of_number", ["steps", "integers"])
def test_it_goes_down_stairs_which_have_no_derivative(kind, kind_of_number):
    def stairs(z):
        energy = (10 * z.abs()).floor().sum(-1)
        return energy if kind_of_number == "steps" else energy.long()

    answer = minimize(stairs, 2 * normal(10, 3), kind(deviation=3.0))
    assert answer.converged.all()
    assert (answer.energy == 0).all()
    assert answer.gradient_norm.isnan().all()


@searches
def test_no_gradient_is_ever_taken(kind):
    class Underivable(torch.autograd.Function):
        @staticmethod
        def forward(ctx, z):
            assert not z.requires_grad
            return z.square().sum(-1)

        @staticmethod
        def backward(ctx, gradient):
            raise AssertionError("a gradient was asked for")

    assert minimize(Underivable.apply, normal(4, 2), kind()).converged.all()


def rastrigin(z):
    """A minimum of 0 at 0, and a local one near every other point of whole numbers, of the squared distance from 0."""
    return (z.square() - 10 * (2 * torch.pi * z).cos() + 10).sum(-1)


@patient
def test_among_many_minima_it_mostly_finds_the_lowest(kind):
    start = torch.rand(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 6 - 3
    answer = minimize(rastrigin, start, kind(deviation=2.0), given=())
    assert (answer.energy < 1e-4).sum() > 50
    # One square of 36 in which the starts lie leads there by its gradient.
    assert (minimize(rastrigin, start, LBFGS(), given=()).energy < 1e-4).sum() < 10
    wide = minimize(rastrigin, start, kind(deviation=2.0, population=200), given=())
    assert (wide.energy < 1e-4).sum() > 90  # of three times as many candidates


@patient
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_where_the_energy_is_not_defined_it_turns_away(kind, bad):
    def walled(z):
        return torch.where(z[:, 0] > 1, bad, bowl(z))

    answer = minimize(walled, torch.zeros(3, 2, dtype=torch.float64), kind())
    assert answer.converged.all()
    # Close to the wall the slope towards it, of 2, hides the curvature along it: that is found to a hundredth.
    torch.testing.assert_close(answer.z, torch.tensor([[1.0, 2.0]] * 3, dtype=torch.float64), atol=1e-2, rtol=0)


@searches
def test_the_answer_is_the_best_that_was_seen(kind):
    seen = []

    def recorded(z):
        seen.append(rastrigin(z).min())
        return rastrigin(z)

    answer = minimize(recorded, normal(1, 2), kind(steps=6, deviation=3.0), given=())
    assert answer.energy[0] == min(seen)


@patient
def test_evaluations_are_the_start_and_a_population_with_its_mean_each_step(kind):
    calls = []

    def counted(z):
        calls.append(len(z))
        return bowl(z)

    problem, rows = pose(counted, normal(1, 2), ())
    calls.clear()
    solver = kind(population=20)
    point = solver.start(problem, rows)
    state = solver.init(problem, point)
    for _ in range(3):
        point, state = solver.step(problem, point, state)
    assert sum(calls) == 1 + 3 * 21
    assert minimize(bowl, normal(1, 2), kind(population=20, steps=3)).evaluations.tolist() == [1 + 3 * 21]


@patient
def test_in_single_precision_it_is_as_exact_as_energies_can_tell(kind):
    answer = minimize(lambda z: bowl(z) + 1e3, torch.zeros(3, 2), kind())
    assert answer.converged.all()
    # An energy of 1000 resolves 6e-5, which a curvature of 2 reaches 8e-3 from the minimum; a few of those.
    assert (answer.z - 2).abs().max() < 3e-2


@searches
def test_a_batch_of_none_has_no_minimum_to_find(kind):
    assert minimize(bowl, torch.zeros(0, 2), kind()).z.shape == (0, 2)
