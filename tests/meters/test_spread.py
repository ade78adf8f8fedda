import math

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.meters import dead_dimensions, deviations, normalized_std, spread

# Roots of sums of at most 40 squares, in double precision.
ROUNDING = {"rel": 1e-9, "abs": 1e-12}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_codes_that_are_all_the_same_have_no_spread(value, dtype):
    codes = torch.full((7, 4), value, dtype=dtype)
    expected = {"std": 0, "std_lowest": 0, "normalized_std": 0, "dead_dimensions": 4}
    # A mean of numbers that are all 0.1 is off by one unit in the last place.
    assert spread(None, codes, codes) == pytest.approx(expected, abs=1e-15)


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


@given(seed=st.integers(0, 2**16), scale=st.sampled_from([1e-300, 1e-30, 1e30, 1e300]))
def test_normalized_std_sees_no_length_however_huge_or_tiny(seed, scale):
    codes = normal(9, 4, seed=seed)
    lengths = scale * (normal(9, 1, seed=seed + 1).abs() + 0.1)
    assert normalized_std(lengths * codes) == pytest.approx(normalized_std(codes), **ROUNDING)


def test_a_line_that_is_no_axis_seems_spread_to_the_normalized_std():
    codes = normal(2000, 1) * torch.ones(1, 64)
    assert normalized_std(codes) == pytest.approx(1, abs=1e-2)  # half of 2,000 signs, off by less than 50
    assert normalized_std(codes * torch.eye(64)[0]) == pytest.approx(1 / 8, abs=1e-2)


def test_the_spread_is_that_of_y_by_dimension_without_bessels_correction():
    hy = torch.tensor([[1.0, 10.0, 0.0], [3.0, 18.0, 0.0]])
    measured = spread(None, normal(2, 3), hy)
    assert deviations(hy).tolist() == [1, 4, 0]
    assert measured["std"] == pytest.approx((1 + 4 + 0) / 3, **ROUNDING)
    assert measured["std_lowest"] == 0
    assert measured["normalized_std"] == normalized_std(hy)
    assert measured["dead_dimensions"] == 1


@given(
    dead=st.integers(0, 6),
    alive=st.integers(1, 6),
    centre=st.floats(-1e6, 1e6),
    scale=st.sampled_from([1e-20, 1.0, 1e20]),
)
def test_dimensions_that_hardly_vary_are_dead_wherever_they_are_and_whatever_the_scale(dead, alive, centre, scale):
    stds = torch.tensor([0.0] * (dead // 2) + [1e-3] * (dead - dead // 2) + [1.0] * alive)
    codes = scale * (centre + normal(50, dead + alive) * stds)
    assert dead_dimensions(codes) == dead


def test_the_share_says_which_are_dead():
    codes = normal(200, 3) * torch.tensor([1.0, 0.1, 0.001])
    assert [dead_dimensions(codes, share) for share in (0.0, 0.01, 0.5)] == [0, 1, 2]


def test_a_dead_direction_that_is_no_axis_is_not_seen():
    flat = normal(200, 2) * torch.tensor([1.0, 0.0])
    turned = flat @ torch.tensor([[1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    assert dead_dimensions(flat) == 1
    assert dead_dimensions(turned) == 0
