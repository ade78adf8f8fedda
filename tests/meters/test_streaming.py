import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from process_group import on_processes

from ebm.meters import (
    Moments,
    alpha_req,
    condition_number,
    dead_dimensions,
    deviations,
    effective_rank,
    participation_ratio,
    rankme,
    singular_values,
    stable_rank,
)

METERS = [
    effective_rank,
    rankme,
    stable_rank,
    participation_ratio,
    alpha_req,
    condition_number,
    dead_dimensions,
    lambda codes: float(deviations(codes).mean()),
]


def streamed(codes, size):
    moments = Moments.zeros(codes.shape[1])
    for batch in codes.split(size):
        moments = moments.update(batch)
    return moments


@given(size=st.integers(1, 30), centre=st.sampled_from([0.0, 1.0, 1e4]), seed=st.integers(0, 2**16))
def test_in_batches_the_moments_are_those_of_all_codes(size, centre, seed):
    codes = centre + normal(30, 4, seed=seed) @ normal(4, 4, seed=seed + 1)
    moments = streamed(codes, size)
    assert moments.count == 30
    torch.testing.assert_close(moments.mean, codes.mean(0), rtol=1e-12, atol=1e-12)
    # Codes at 10,000 have lost four of sixteen digits before they are counted.
    torch.testing.assert_close(moments.scatter / 29, codes.T.cov(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("meter", METERS)
@pytest.mark.parametrize("centre", [0.0, 100.0])
@given(size=st.integers(1, 40), decades=st.floats(0, 3), seed=st.integers(0, 2**16))
def test_every_meter_of_the_spectrum_reads_off_moments_what_it_does_off_codes(meter, centre, size, decades, seed):
    codes = centre + normal(40, 6, seed=seed) * torch.logspace(0, -decades, 6, dtype=torch.float64)
    # Squares of 1e-3 are 1e-6, of which rounding of 1e-16 takes 1e-10; at 100 four digits more.
    assert meter(streamed(codes, size).codes()) == pytest.approx(meter(codes), rel=1e-6)


def test_what_squares_cannot_resolve_is_empty():
    codes = normal(500, 3) * torch.tensor([1.0, 1e-4, 1e-9])
    seen = singular_values(streamed(codes, 100).codes())
    assert seen[1] / seen[0] == pytest.approx(float(singular_values(codes)[1] / singular_values(codes)[0]), rel=1e-6)
    assert seen[2] == 0
    assert singular_values(codes)[2] > 0


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_codes_that_are_all_the_same_have_no_direction(value):
    moments = streamed(torch.full((90, 4), value, dtype=torch.float64), 7)
    assert effective_rank(moments.codes()) == 0
    assert dead_dimensions(moments.codes()) == 4


def test_a_line_has_a_rank_of_one():
    line = 3 + normal(90, 1) * normal(1, 20, seed=1)
    assert effective_rank(streamed(line, 7).codes()) == pytest.approx(1, abs=1e-6)


def test_moments_are_merged_in_any_order_and_nothing_adds_nothing():
    first, second = normal(5, 3), 9 + normal(8, 3, seed=1)
    both, other = Moments.of(first) + Moments.of(second), Moments.of(second) + Moments.of(first)
    for found, expected in zip((both.mean, both.scatter), (other.mean, other.scatter), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close((both + Moments.zeros(3)).scatter, both.scatter)
    torch.testing.assert_close((Moments.zeros(3) + both).mean, both.mean)
    assert (Moments.zeros(3) + Moments.zeros(3)).count == 0


def merged(codes, counts):
    """What process `rank` makes of its rows and those of the others."""
    own = codes.split(counts)[torch.distributed.get_rank()]
    found = Moments.of(own).over_processes()
    return found.count, found.mean, found.scatter


def test_over_processes_the_moments_are_those_of_all_codes():
    codes = 5 + normal(10, 3)
    for count, mean, scatter in on_processes(2, merged, codes, [7, 3]):
        assert count == 10
        torch.testing.assert_close(mean, codes.mean(0), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(scatter, codes.T.cov() * 9, rtol=1e-12, atol=1e-12)


def test_one_process_has_its_own_moments():
    moments = Moments.of(normal(5, 3))
    assert moments.over_processes() is moments


def test_no_codes_have_no_moments_to_read():
    with pytest.raises(ValueError, match="of no codes: `update` them"):
        Moments.zeros(3).codes()


def test_codes_of_other_features_are_refused():
    with pytest.raises(ValueError, match="codes of 3 and of 4 features"):
        Moments.zeros(3).update(normal(5, 4))
