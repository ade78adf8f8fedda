import math

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.meters import (
    alpha_req,
    condition_number,
    effective_rank,
    nesum,
    participation_ratio,
    rank,
    rankme,
    singular_values,
    spread,
    stable_rank,
)

# Roots of eigenvalues of matrices of at most 40 rows, in double precision.
ROUNDING = {"rel": 1e-9, "abs": 1e-12}

seeds = st.integers(0, 2**16)
spectra = st.lists(st.floats(0.01, 100), min_size=1, max_size=8)
EMPTY = 1 / torch.finfo(torch.float64).eps  # the condition number of codes with a direction that is empty
RANKS = [effective_rank, rankme, stable_rank, nesum, participation_ratio]
of_rank = pytest.mark.parametrize("meter", RANKS)


def codes_of(values, rows=20, features=8, seed=0):
    """Codes whose mean is zero and whose singular values are the given ones."""
    left = torch.linalg.qr(torch.cat([torch.ones(rows, 1).double(), normal(rows, features, seed=seed)], 1)).Q[:, 1:]
    right = torch.linalg.qr(normal(features, features, seed=seed + 1)).Q
    k = len(values)
    return left[:, :k] * torch.tensor(values, dtype=torch.float64) @ right[:k]


@given(values=spectra, seed=seeds)
def test_singular_values_are_those_the_codes_were_made_of_largest_first(values, seed):
    found = singular_values(codes_of(values, seed=seed))
    expected = sorted(values, reverse=True) + [0.0] * (8 - len(values))
    assert found.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("rows", "features"), [(3, 7), (7, 3)])
def test_there_are_as_many_singular_values_as_the_smaller_side_and_in_double_precision(rows, features):
    found = singular_values(normal(rows, features, dtype=torch.float32))
    assert found.shape == (3,)
    assert found.dtype == torch.float64


@of_rank
@pytest.mark.parametrize("k", range(1, 9))
def test_k_equal_singular_values_are_a_rank_of_k(meter, k):
    assert meter(codes_of([3.0] * k)) == pytest.approx(k, **ROUNDING)


@pytest.mark.parametrize("meter", [effective_rank, rankme])
@given(big=st.floats(0.1, 100), small=st.floats(0.1, 100), m=st.integers(1, 4), n=st.integers(1, 4))
def test_m_large_and_n_small_singular_values_have_the_rank_of_the_closed_form(meter, big, small, m, n):
    p, q = big / (m * big + n * small), small / (m * big + n * small)
    assert meter(codes_of([big] * m + [small] * n)) == pytest.approx(p ** -(m * p) * q ** -(n * q), **ROUNDING)


@given(values=spectra, shift=st.floats(-1e3, 1e3))
def test_where_codes_lie_does_not_change_their_effective_rank(values, shift):
    codes = codes_of(values)
    # A shift of 1,000 costs three of sixteen digits, of singular values from 0.01.
    assert effective_rank(codes + shift) == pytest.approx(effective_rank(codes), rel=1e-6)


def test_a_code_far_from_the_origin_has_a_rankme_near_one_whatever_its_shape():
    ball = codes_of([1.0] * 8)
    assert rankme(ball) == pytest.approx(8, **ROUNDING)
    assert rankme(ball + 1e6) == pytest.approx(1, abs=1e-3)
    assert effective_rank(ball + 1e6) == pytest.approx(8, rel=1e-6)


@given(values=spectra, scale=st.sampled_from([1e-6, 1e-3, 1e3]))
def test_a_rank_is_free_of_scale(values, scale):
    codes = codes_of(values)
    assert effective_rank(scale * codes) == pytest.approx(effective_rank(codes), **ROUNDING)
    assert rankme(scale * codes) == pytest.approx(rankme(codes), **ROUNDING)


def test_a_code_that_has_shrunk_to_a_millionth_keeps_its_rank_so_the_spread_stands_beside_it():
    codes = normal(40, 8)
    shrunk = 5 + 1e-6 * (codes - codes.mean(0))
    assert rank(None, shrunk, shrunk)["effective_rank"] == pytest.approx(effective_rank(codes), rel=1e-6)
    assert spread(None, shrunk, shrunk)["std"] == pytest.approx(1e-6 * spread(None, codes, codes)["std"], rel=1e-6)
    assert spread(None, shrunk, shrunk)["normalized_std"] < 1e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_codes_that_are_all_the_same_have_no_direction(value, dtype):
    codes = torch.full((7, 4), value, dtype=dtype)
    assert rank(None, codes, codes) == {
        "effective_rank": 0,
        "rankme": pytest.approx(float(value > 0)),
        "stable_rank": 0,
        "participation_ratio": 0,
        "alpha_req": 0,
    }
    assert condition_number(codes) == EMPTY


@of_rank
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@given(k=st.integers(1, 5), shape=st.sampled_from([(300, 40), (40, 300), (64, 64)]), seed=seeds)
def test_the_precision_that_codes_come_in_adds_no_directions_to_their_rank(meter, dtype, k, shape, seed):
    low = (normal(shape[0], k, seed=seed) @ normal(k, shape[1], seed=seed + 1)).to(dtype)
    found = meter(low)
    assert found <= k * (1 + 1e-6)
    # That of the codes before they were rounded, within the digits of their dtype.
    exact = meter(normal(shape[0], k, seed=seed) @ normal(k, shape[1], seed=seed + 1))
    assert found == pytest.approx(exact, rel=4 * torch.finfo(dtype).eps * 8)


def test_a_code_of_rank_one_has_a_rank_of_one_in_thousands_of_dimensions():
    line = normal(64, 1, dtype=torch.float32) * normal(1, 8192, seed=1, dtype=torch.float32)
    p = torch.linalg.svdvals(line) / torch.linalg.svdvals(line).sum() + 1e-5
    assert rankme(line) == pytest.approx(1, abs=1e-9)
    assert effective_rank(line) == pytest.approx(1, abs=1e-9)
    # With the 1e-5 of some libraries even these 64 singular values read more; 8,192 of them 2.57.
    assert float(torch.special.entr(p).sum().exp()) > 1.005


@of_rank
@given(seed=seeds, rows=st.integers(9, 40))
def test_a_rotation_is_nothing_to_a_rank(meter, seed, rows):
    codes = normal(rows, 6, seed=seed) * torch.arange(1.0, 7.0)
    turned = codes @ torch.linalg.qr(normal(6, 6, seed=seed + 1)).Q
    assert meter(turned) == pytest.approx(meter(codes), rel=1e-9)


@pytest.mark.parametrize("shape", [(50, 20), (20, 50), (500, 20), (20, 20)], ids=str)
@given(decades=st.floats(0, 9), seed=seeds)
def test_by_products_or_not_singular_values_are_those_of_the_whole_decomposition(shape, decades, seed):
    spread_out = torch.logspace(0, -decades, shape[1], dtype=torch.float64)
    codes = normal(*shape, seed=seed) * spread_out
    expected = torch.linalg.svdvals(codes - codes.mean(0))
    expected = torch.where(expected > 1e-13 * expected[0], expected, 0)
    # Of the largest, 1e-14 of rounding; products lose half of the digits, but are taken where few are lost.
    torch.testing.assert_close(singular_values(codes), expected, rtol=1e-9, atol=1e-13 * float(expected[0]))


@given(values=st.lists(st.floats(0.01, 100), min_size=2, max_size=8), seed=seeds)
def test_the_closed_forms_of_a_spectrum(values, seed):
    codes = codes_of(values, seed=seed)
    squares = sorted((value**2 for value in values), reverse=True)
    assert stable_rank(codes) == pytest.approx(sum(squares) / squares[0], **ROUNDING)
    assert nesum(codes) == stable_rank(codes)
    ratio = sum(squares) ** 2 / sum(square**2 for square in squares)
    assert participation_ratio(codes) == pytest.approx(ratio, **ROUNDING)
    if len(values) == 8:
        assert condition_number(codes) == pytest.approx((squares[0] / squares[-1]) ** 0.5, rel=1e-9)
    else:
        assert condition_number(codes) == EMPTY


@pytest.mark.parametrize("count", [2, 3, 5, 8])
@given(alpha=st.floats(0, 4), seed=seeds, scale=st.sampled_from([1e-30, 1.0, 1e30]))
def test_alpha_req_is_the_exponent_of_a_power_law_however_many_directions_there_are(count, alpha, seed, scale):
    codes = scale * codes_of([k ** (-alpha / 2) for k in range(1, count + 1)], seed=seed)
    assert alpha_req(codes) == pytest.approx(alpha, abs=1e-8)


def test_alpha_req_is_a_line_fitted_between_the_ranks_4_and_100_with_weights():
    values = torch.exp(-normal(120, seed=3).abs().cumsum(0) / 9).tolist()
    codes = codes_of(values, rows=200, features=120)
    k, logs = np.arange(4, 101), 2 * np.log(values[3:100])
    slope, _ = np.polyfit(np.log(k), logs, 1, w=k**-0.5)  # whose weights are of residuals, not of their squares
    assert alpha_req(codes) == pytest.approx(-slope, rel=1e-9)


def test_the_first_three_directions_are_nothing_to_alpha_req():
    tail = [k**-1.0 for k in range(4, 9)]
    assert alpha_req(codes_of([50.0, 7.0, 6.0, *tail])) == pytest.approx(alpha_req(codes_of([3.0, 2.0, 1.0, *tail])))
    assert alpha_req(codes_of([50.0, 7.0, 6.0, *tail])) == pytest.approx(2)


def test_a_batch_no_larger_than_its_dimensions_leaves_one_empty():
    assert condition_number(normal(8, 8)) == EMPTY
    assert condition_number(normal(9, 8)) < 1e4


@of_rank
@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_neither_huge_nor_tiny_codes_overflow(meter, scale):
    assert meter(scale * normal(9, 4)) == pytest.approx(meter(normal(9, 4)), rel=1e-9)


def test_the_rank_is_that_of_y():
    hx, hy = codes_of([1.0] * 2), codes_of([3.0, 2.0, 1.0, 0.5, 0.25]) + 2
    of_all = {"effective_rank": effective_rank, "rankme": rankme, "stable_rank": stable_rank}
    of_all |= {"participation_ratio": participation_ratio, "alpha_req": alpha_req}
    assert rank(None, hx, hy) == {name: meter(hy) for name, meter in of_all.items()}


@pytest.mark.parametrize("shape", [(8,), (2, 3, 4), (4, 0), (0, 4)], ids=str)
def test_what_is_not_rows_of_features_is_refused(shape):
    with pytest.raises(ValueError, match=r"\(batch, features\), got|at least 1 codes, got a batch of 0"):
        effective_rank(torch.zeros(shape))


def test_codes_that_are_not_finite_are_refused_by_how_many():
    codes = normal(8, 4)
    codes[2, 1], codes[5, 0] = math.nan, math.inf
    with pytest.raises(ValueError, match="2 of 8 rows with NaN or infinity"):
        rankme(codes)
