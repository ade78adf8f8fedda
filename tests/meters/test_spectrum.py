import math

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.meters import effective_rank, normalized_std, rank, rankme, singular_values, spread

# Roots of eigenvalues of matrices of at most 40 rows, in double precision.
ROUNDING = {"rel": 1e-9, "abs": 1e-12}

seeds = st.integers(0, 2**16)
spectra = st.lists(st.floats(0.01, 100), min_size=1, max_size=8)


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


@pytest.mark.parametrize("meter", [effective_rank, rankme])
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_codes_that_are_all_the_same_have_no_effective_rank_and_no_spread(value, dtype):
    codes = torch.full((7, 4), value, dtype=dtype)
    assert effective_rank(codes) == 0
    # A mean of numbers that are all 0.1 is off by one unit in the last place.
    assert spread(None, codes, codes) == pytest.approx({"std": 0, "std_lowest": 0, "normalized_std": 0}, abs=1e-15)


@pytest.mark.parametrize(
    "codes",
    [torch.zeros(8, 4), torch.full((8, 4), 3.7), normal(1, 4), torch.zeros(1, 4), normal(8, 1), 1e-30 * normal(8, 4)],
    ids=["zero", "constant", "one row", "one row of zeros", "one feature", "tiny"],
)
@pytest.mark.parametrize("meter", [rank, spread])
def test_degenerate_codes_give_finite_numbers(meter, codes):
    assert all(math.isfinite(value) for value in meter(None, codes, codes).values())


@pytest.mark.parametrize("d", [1, 2, 8])
def test_normalized_std_is_one_where_directions_are_spread_evenly(d):
    axes = torch.cat([torch.eye(d), -torch.eye(d)])
    lengths = normal(2 * d, 1).abs() + 0.1
    assert normalized_std(lengths * axes) == pytest.approx(1, **ROUNDING)


def test_normalized_std_is_zero_where_all_codes_point_the_same_way():
    assert normalized_std((normal(9, 1).abs() + 0.1) * normal(1, 5, seed=1)) == pytest.approx(0, abs=1e-12)


def test_normalized_std_of_two_directions_is_read_off():
    # Unit codes (1, 0) and (0, 1): each dimension is 0 or 1, half and half, of standard deviation 1/2.
    assert normalized_std(torch.tensor([[5.0, 0.0], [0.0, 0.1]])) == pytest.approx(math.sqrt(2) / 2, **ROUNDING)


def test_the_spread_is_that_of_y_by_dimension_without_bessels_correction():
    hy = torch.tensor([[1.0, 10.0, 0.0], [3.0, 18.0, 0.0]])
    measured = spread(None, normal(2, 3), hy)
    assert measured["std"] == pytest.approx((1 + 4 + 0) / 3, **ROUNDING)
    assert measured["std_lowest"] == 0
    assert measured["normalized_std"] == normalized_std(hy)


def test_the_rank_is_that_of_y():
    hx, hy = codes_of([1.0] * 2), codes_of([1.0] * 5) + 2
    assert rank(None, hx, hy) == {"effective_rank": effective_rank(hy), "rankme": rankme(hy)}
