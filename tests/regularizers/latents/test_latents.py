"""Each against what it is by definition: an integral, a singular value decomposition, the penalty itself."""

import math

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, optimize, stats
from torch.distributions import Normal, kl_divergence

import ebm
from ebm.regularizers import (
    Capacity,
    CategoricalInformation,
    Covariance,
    GaussianInformation,
    NuclearNorm,
    Penalised,
)

seeds = st.integers(0, 2**16)
PENALTIES = [ebm.L1(0.3), ebm.GroupL1(0.3, size=2), ebm.NonNegativeL1(0.3), ebm.L2(0.3)]
penalties = pytest.mark.parametrize("penalty", PENALTIES, ids=lambda penalty: type(penalty).__name__)


@penalties
def test_a_penalised_code_costs_the_mean_of_its_penalty(penalty):
    codes = normal(5, 4).abs()
    torch.testing.assert_close(Penalised(penalty)(codes), sum(penalty(row) for row in codes) / 5)


@penalties
@given(seed=seeds, step=st.floats(0.1, 2.0))
def test_the_prox_of_a_penalised_code_is_where_its_objective_is_least(penalty, seed, step):
    """Against a search from the answer itself and from elsewhere, by a method that needs no derivative."""
    code = normal(1, 2, seed=seed)

    def objective(u):
        u = torch.as_tensor(u)[None]
        return float(penalty(u) + (u - code).square().sum() / (2 * step))

    answer = Penalised(penalty).prox(code, step)
    found = objective(answer[0].numpy())
    for start in (answer[0].numpy(), code[0].abs().numpy()):
        searched = optimize.minimize(objective, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
        assert found <= searched.fun + 1e-10


@given(seed=seeds)
def test_what_a_gaussian_code_tells_is_the_divergence_that_torch_has(seed):
    codes = normal(6, 8, seed=seed)
    mean, log_variance = codes.chunk(2, 1)
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(GaussianInformation()(codes), expected, rtol=1e-12, atol=1e-12)


def test_what_a_gaussian_code_tells_is_the_integral_that_defines_it():
    mean, log_variance = 0.7, -1.3
    q, p = stats.norm(mean, math.exp(log_variance / 2)), stats.norm()
    nats, _ = integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - p.logpdf(z)), -12, 12)
    code = torch.tensor([[mean, log_variance]], dtype=torch.float64)
    assert GaussianInformation()(code).item() == pytest.approx(nats, abs=1e-8)  # the error of the quadrature


def test_in_single_precision_a_code_that_tells_nothing_costs_nothing_and_one_that_tells_little_costs_that():
    assert GaussianInformation()(torch.zeros(4, 6)) == 0
    # exp(v) - 1 - v of v = 1e-5 is 5e-11, of which single precision keeps no digit unless it is taken together.
    little = GaussianInformation()(torch.tensor([[0.0, 1e-3]]))
    assert little.item() == pytest.approx((math.exp(1e-3) - 1 - 1e-3) / 2, rel=1e-3)


@given(seed=seeds, nats=st.floats(0, 20))
def test_a_capacity_is_missed_by_as_much_as_is_told_too_much_or_too_little(seed, nats):
    codes = normal(6, 8, seed=seed)
    missed = abs(GaussianInformation()(codes).item() - nats)
    assert Capacity(nats)(codes).item() == pytest.approx(missed, rel=1e-12, abs=1e-12)


def test_descent_on_a_capacity_ends_at_so_many_nats():
    codes = normal(16, 6).requires_grad_()
    optimizer, capacity = torch.optim.SGD([codes], lr=0.05), Capacity(3.0)
    for _ in range(400):
        optimizer.zero_grad()
        capacity(codes).backward()
        optimizer.step()
    # Descent on an absolute value of slope g circles its minimum in steps of lr g^2, here under 0.05.
    assert GaussianInformation()(codes).item() == pytest.approx(3.0, abs=0.05)


@given(seed=seeds, k=st.integers(2, 9))
def test_what_a_choice_tells_is_what_it_leaves_of_the_greatest_entropy(seed, k):
    logits = 3 * normal(5, k, seed=seed)
    told = math.log(k) - stats.entropy(logits.softmax(1).numpy(), axis=1)
    assert CategoricalInformation()(logits).item() == pytest.approx(told.mean(), rel=1e-10, abs=1e-12)


def test_a_choice_left_to_chance_tells_nothing_and_a_sure_one_all_there_is():
    torch.testing.assert_close(CategoricalInformation()(torch.zeros(3, 8)), torch.tensor(0.0), atol=1e-6, rtol=0)
    sure = CategoricalInformation()(1e4 * torch.eye(8))
    torch.testing.assert_close(sure, torch.tensor(math.log(8)))


@given(shape=st.tuples(st.integers(2, 9), st.integers(1, 9)), seed=seeds)
def test_the_nuclear_norm_is_the_sum_of_the_principal_standard_deviations(shape, seed):
    codes = normal(*shape, seed=seed)
    values = np.linalg.svd(codes.numpy() - codes.numpy().mean(0), compute_uv=False)
    # A singular value of zero is found as the root of a rounding, 1e-8, and again as its distance from epsilon.
    assert NuclearNorm(1e-9)(codes).item() == pytest.approx(values.sum() / shape[0] ** 0.5, abs=1e-6)


@given(seed=seeds, step=st.floats(0.1, 3.0))
def test_the_prox_of_the_nuclear_norm_is_where_its_objective_is_least(seed, step):
    codes, norm = normal(7, 3, seed=seed), NuclearNorm(1e-9)
    answer = norm.prox(codes, step)

    def objective(u):
        return float(norm(u) + (u - codes).square().sum() / (2 * step))

    # It is convex: no point nearby is better, in any of many directions.
    nearby = [objective(answer + 1e-3 * normal(7, 3, seed=seed + i)) for i in range(1, 20)]
    assert objective(answer) <= min(nearby)
    assert objective(answer) <= objective(codes)


def test_the_prox_of_the_nuclear_norm_leaves_out_directions_of_little_variance():
    codes = normal(50, 2) @ torch.tensor([[3.0, 0.0], [0.0, 0.01]], dtype=torch.float64) @ normal(2, 6, seed=1)
    smaller = NuclearNorm().prox(codes, 2.0)
    assert torch.linalg.matrix_rank(codes - codes.mean(0)) == 2
    assert torch.linalg.matrix_rank(smaller - smaller.mean(0), atol=1e-9) == 1
    torch.testing.assert_close(smaller.mean(0), codes.mean(0))


def test_the_nuclear_norm_goes_down_where_covariance_goes_up():
    """It is the other way round from what keeps information high: one direction of much variance is what it likes."""
    spread, line = normal(64, 4), normal(64, 1) @ torch.full((1, 4), 1.0, dtype=torch.float64)
    line = line * (spread.square().sum() / line.square().sum()).sqrt()
    assert NuclearNorm()(line) < NuclearNorm()(spread)
    assert Covariance()(line) > Covariance()(spread)


@pytest.mark.parametrize("kind", [GaussianInformation(), Capacity(1.0)], ids=["GaussianInformation", "Capacity"])
def test_an_odd_number_of_features_has_no_means_and_variances(kind):
    with pytest.raises(ValueError, match="D means and D logarithms of variances, got an odd number of features: 5"):
        kind(normal(4, 5))


@pytest.mark.parametrize("nats", [-1.0, math.inf, math.nan])
def test_a_capacity_that_is_no_number_of_nats_is_refused(nats):
    with pytest.raises(ValueError, match="a number of nats that is not negative"):
        Capacity(nats)
