"""What holds for every marginal, and how `FreeEnergy` uses one."""

import dataclasses
import math

import pytest
import torch
from conftest import every, normal
from integrals import SOLVER, STARTS, Circle, Folded, Quadratic
from torch import nn

from ebm import (
    L1,
    LBFGS,
    AnnealedImportanceSampling,
    Box,
    Enumerated,
    FreeEnergy,
    ImportanceSampling,
    Laplace,
    Lebesgue,
    Marginal,
    Normal,
    SumOfSquares,
    Uniform,
    Variational,
    marginalise,
    minimize,
)
from ebm.energies import LatentDecoder
from ebm.marginals.marginal import Continuous

FOUND = [parameter.values[0] for parameter in every("ebm.marginals", Marginal)]
CONTINUOUS = pytest.mark.parametrize("kind", every("ebm.marginals", Continuous))


def small(kind, beta=4.0, **options):
    cheap = {AnnealedImportanceSampling: {"temperatures": 10}, ImportanceSampling: {"samples": 64}}
    return kind(beta, **cheap.get(kind, {}), **options)


def test_there_are_five_of_which_four_are_over_a_prior():
    kinds = {Laplace, ImportanceSampling, AnnealedImportanceSampling, Variational}
    assert {*FOUND} == kinds | {Enumerated}


@CONTINUOUS
def test_an_infinite_beta_is_the_minimum_with_its_derivative(kind):
    fn = Folded(2)
    y = fn.y.clone().requires_grad_()
    answer = marginalise(fn, fn.start, kind(torch.inf), given=(y,), solver=SOLVER, restarts=STARTS)
    minimum = minimize(fn, fn.start, SOLVER, given=(y,), restarts=STARTS)
    assert torch.equal(answer.value, minimum.energy)
    assert torch.equal(*(torch.autograd.grad(value.sum(), y)[0] for value in (answer.value, minimum.energy)))
    assert torch.equal(answer.error, torch.zeros_like(fn.y[:, 0]))


def test_an_infinite_beta_over_a_uniform_prior_is_the_minimum_within_its_bounds():
    fn = Quadratic(6, 3)
    answer = marginalise(fn, fn.centre, Laplace(torch.inf, Uniform(-0.2, 0.3)), given=fn.given, solver=SOLVER)
    within = minimize(fn, fn.centre, SOLVER, given=fn.given, within=Box(-0.2, 0.3))
    assert torch.equal(answer.value, within.energy)


@CONTINUOUS
def test_the_estimate_of_a_sample_does_not_depend_on_the_rest_of_the_batch(kind):
    fn = Folded(2, samples=5)
    together = marginalise(fn, fn.start, small(kind), given=(fn.y,), restarts=3)
    for i in range(5):
        alone = marginalise(fn, fn.start[i : i + 1], small(kind), given=(fn.y[i : i + 1],), restarts=3)
        # The order of sums in matrix products depends on their size.
        torch.testing.assert_close(alone.value[0], together.value[i], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.error[0], together.error[i], atol=1e-5, rtol=0)


@CONTINUOUS
def test_it_is_the_same_each_time_and_draws_nothing_from_the_global_generator(kind):
    fn = Folded(2, samples=3)
    before = torch.get_rng_state()
    first, second = (marginalise(fn, fn.start, small(kind), given=(fn.y,)).value for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", [AnnealedImportanceSampling, ImportanceSampling, Variational])
def test_another_seed_is_another_estimate_as_near_as_the_first(kind):
    fn = Folded(1)
    first, second = (
        marginalise(fn, fn.start, kind(4.0, seed=seed), given=(fn.y,), restarts=STARTS) for seed in (0, 100)
    )
    assert not torch.equal(first.value, second.value)
    # A difference of two estimates; of sixteen samples one may be unlucky.
    assert ((first.value - second.value).abs() <= 3 * (first.error + second.error)).all()


@CONTINUOUS
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # by torch.func.jvp itself
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients_the_value_is_the_same(kind, mode):
    fn = Folded(2, samples=3)
    recorded = marginalise(fn, fn.start, small(kind), given=(fn.y.clone().requires_grad_(),), restarts=3)
    with mode():
        answer = marginalise(fn, fn.start, small(kind), given=(fn.y,), restarts=3)
    assert recorded.value.requires_grad
    assert not answer.value.requires_grad
    torch.testing.assert_close(answer.value, recorded.value.detach(), atol=1e-7, rtol=0)  # forward for reverse mode
    assert not answer.error.requires_grad


@CONTINUOUS
def test_single_precision_is_near_double(kind):
    fn = Folded(2, samples=6)
    exact = marginalise(fn, fn.start, small(kind), given=(fn.y,))
    fn.inner, fn.bias, fn.outer = fn.inner.float(), fn.bias.float(), fn.outer.float()
    answer = marginalise(fn, fn.start.float(), small(kind), given=(fn.y.float(),))
    assert answer.value.dtype == torch.float32
    # Where a move of annealing is refused in one precision and not in the other, a particle of 64 weighs otherwise.
    torch.testing.assert_close(answer.value.double(), exact.value, atol=0.02, rtol=2e-3)


@CONTINUOUS
def test_half_precision_is_estimated_in_single(kind):
    def fn(z):
        return (z.float() - 1).square().sum(-1)

    answer = marginalise(fn, torch.zeros(3, 2, dtype=torch.bfloat16), small(kind))
    assert answer.value.dtype == torch.float32
    exact = marginalise(fn, torch.zeros(3, 2), small(kind))
    # z has three digits in bfloat16; what moves annealing refuses differs.
    torch.testing.assert_close(answer.value, exact.value, atol=0.1, rtol=0)


@CONTINUOUS
def test_a_latent_may_be_a_tree_and_what_is_held_may_be_in_the_function(kind):
    fn = Quadratic(4, 3)
    whole = marginalise(fn, torch.zeros_like(fn.centre), small(kind), given=fn.given, solver=SOLVER)

    def of_tree(z):
        return fn(torch.cat([z["a"][..., None], z["b"]], -1), *fn.given)

    start = {"a": torch.zeros(4, dtype=torch.float64), "b": torch.zeros(4, 2, dtype=torch.float64)}
    parts = marginalise(of_tree, start, small(kind), solver=SOLVER)
    torch.testing.assert_close(parts.value, whole.value, atol=1e-9, rtol=1e-9)  # rounding
    torch.testing.assert_close(parts.error, whole.error, atol=1e-6, rtol=1e-6)  # rounding


@CONTINUOUS
def test_batch_axes_are_kept(kind):
    fn = Quadratic(6, 2)
    flat = marginalise(fn, torch.zeros_like(fn.centre), small(kind), given=fn.given)
    given = tuple(part.unflatten(0, (2, 3)) for part in fn.given)
    answer = marginalise(fn, torch.zeros(2, 3, 2, dtype=torch.float64), small(kind), given=given)
    torch.testing.assert_close(answer.value.flatten(), flat.value, atol=1e-12, rtol=1e-12)  # rounding
    for part in (answer.error, answer.effective_sample_size, answer.modes):
        assert part.shape == (2, 3)


@CONTINUOUS
def test_a_marginal_is_frozen_and_a_prior_is_one_argument(kind):
    marginal = kind(2.0, Normal(0.5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        marginal.beta = 3.0
    assert marginal == kind(2.0, Normal(0.5)) != kind(2.0, Normal(0.6))
    assert hash(marginal) == hash(kind(2.0, Normal(0.5)))
    assert kind().prior == Normal()


@CONTINUOUS
@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan")])
def test_a_beta_that_is_not_positive_is_refused(kind, beta):
    with pytest.raises(ValueError, match="beta is positive"):
        kind(beta)


@CONTINUOUS
def test_a_constraint_is_refused_since_it_may_have_no_volume(kind):
    F = FreeEnergy(Circle(1.0), within=Box(-3, 3), marginal=kind(2.0))
    with pytest.raises(ValueError, match=r"leave out `within`, .* Uniform"):
        F(None, normal(3, 2))


@CONTINUOUS
def test_a_sum_of_squares_stays_one_so_that_it_may_be_solved_as_such(kind):
    matrix, y = normal(3, 2), normal(4, 3)
    squares = SumOfSquares(lambda z, y: y - z @ matrix.T)
    start = torch.zeros(4, 2, dtype=torch.float64)
    answer = marginalise(squares, start, small(kind), given=(y,), solver=SOLVER)
    plain = marginalise(lambda z, y: squares(z, y), start, small(kind), given=(y,), solver=SOLVER)
    torch.testing.assert_close(answer.value, plain.value, atol=1e-9, rtol=1e-9)  # rounding


@CONTINUOUS
def test_changing_one_argument_regularises_a_latent(kind):
    energy, y = LatentDecoder.small().double(), normal(4, 8)
    plain, averaged = FreeEnergy(energy), FreeEnergy(energy, marginal=small(kind))
    assert (averaged(y, y) > plain(y, y)).all()
    assert torch.equal(averaged.infer(y, y).energy, plain(y, y))
    assert torch.equal(averaged.marginalise(y, y).value, averaged(y, y))
    averaged(y, y).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in energy.parameters())


@CONTINUOUS
def test_each_pair_has_an_average_of_its_own(kind):
    energy, y = LatentDecoder.small().double(), normal(3, 8)
    F = FreeEnergy(energy, marginal=small(kind))
    # Rounding in products of other sizes, where a refusal in annealing may turn on it.
    torch.testing.assert_close(F.pairs(normal(2, 8), y), F(y, y).expand(2, 3), atol=1e-6, rtol=0)


def test_without_a_marginal_marginalising_is_minimising():
    F, y = FreeEnergy(LatentDecoder.small().double()), normal(4, 8)
    answer = F.marginalise(y, y)
    assert torch.equal(answer.value, F(y, y))
    assert torch.equal(answer.search.z, F.infer(y, y).z)
    assert (answer.error == 0).all()


def test_a_module_that_couples_samples_is_refused_here_too():
    class Normed(Circle):
        def __init__(self):
            super().__init__(1.0)
            self.norm = nn.BatchNorm1d(1).double()

        def cost(self, hx, hy, z=None):
            return super().cost(hx, hy, self.norm(z))

    with pytest.raises(ValueError, match="`cost` ran BatchNorm1d"):
        FreeEnergy(Normed(), marginal=Laplace(1.0))(None, normal(4, 2))


def test_under_a_penalty_importance_sampling_is_right_and_laplace_refuses():
    y = normal(5, 1)
    start = torch.zeros_like(y)

    def fn(z, y):
        return (z - y).square().sum(-1)

    axis = torch.linspace(-8, 8, 16001, dtype=torch.float64)
    energies = (axis - y).square() + 0.7 * axis.abs()
    exact = -(torch.logsumexp(Normal().log_density(axis[:, None]) - 3 * energies, 1) + math.log(1e-3))
    marginal = ImportanceSampling(3.0)
    answer = marginalise(fn, start, marginal, given=(y,), penalty=L1(0.7))
    torch.testing.assert_close(answer.value, exact / 3, atol=5e-3, rtol=0)  # 1024 samples across a kink; measured 3e-4
    with pytest.raises(ValueError, match="kinks: use ImportanceSampling"):
        marginalise(fn, start, Laplace(3.0), given=(y,), penalty=L1(0.7))


def test_a_uniform_prior_and_a_penalty_do_not_go_together():
    with pytest.raises(ValueError, match="write the penalty into the energy"):
        marginalise(lambda z: z.square().sum(-1), normal(2, 1), ImportanceSampling(1.0, Uniform()), penalty=L1(0.7))


def test_over_the_flat_measure_annealing_has_nowhere_to_start():
    with pytest.raises(ValueError, match="give a proper one"):
        AnnealedImportanceSampling(1.0, Lebesgue())


def test_over_a_uniform_prior_a_normal_distribution_is_infinitely_far():
    with pytest.raises(ValueError, match="divergence from a uniform prior is infinite"):
        FreeEnergy(Circle(1.0), marginal=Variational(1.0, Uniform(-3, 3)))(None, normal(3, 2))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (ImportanceSampling, {"samples": 100}, "as many for each"),
        (ImportanceSampling, {"replicates": 1}, "at least 2 replicates"),
        (ImportanceSampling, {"defensive": 0.0}, "between 0 and 1"),
        (ImportanceSampling, {"inflation": 0.0}, "inflation is positive"),
        (AnnealedImportanceSampling, {"particles": 1}, "at least 2 particles"),
        (AnnealedImportanceSampling, {"power": 0.0}, "power is positive"),
        (Variational, {"samples": 5}, "in pairs"),
    ],
)
def test_settings_that_make_no_estimate_are_refused(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(1.0, **options)


def test_a_variational_latent_takes_two_samples_a_feature():
    fn = Quadratic(2, 5)
    with pytest.raises(ValueError, match="5 features take at least 10 samples"):
        marginalise(fn, fn.centre, Variational(1.0, samples=8), given=fn.given, solver=LBFGS())
