import math
import sys

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.meters import alignment, hypersphere, uniformity
from ebm.regularizers import Uniformity

seeds = st.integers(0, 2**16)


def uniformity_by_loop(codes, t=2.0):
    u = [code / code.norm() for code in codes]
    terms = [math.exp(-t * float((a - b).square().sum())) for i, a in enumerate(u) for j, b in enumerate(u) if i != j]
    return math.log(sum(terms) / len(terms))


@given(rows=st.integers(2, 12), features=st.integers(1, 6), t=st.sampled_from([0.5, 2.0]), seed=seeds)
def test_uniformity_is_that_of_a_loop_over_all_pairs(rows, features, t, seed):
    codes = normal(rows, features, seed=seed)
    assert uniformity(codes, t) == pytest.approx(uniformity_by_loop(codes, t), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("rows", [1, 7, 16, 50, 1000])
def test_in_blocks_uniformity_is_what_it_is_at_once(rows, monkeypatch):
    codes = normal(50, 6)
    at_once = Uniformity()(codes).item()
    monkeypatch.setattr(sys.modules["ebm.meters.sphere"], "ROWS", rows)
    assert uniformity(codes) == pytest.approx(at_once, rel=1e-12)


def test_uniformity_is_zero_for_codes_that_point_the_same_way():
    assert uniformity((normal(9, 1).abs() + 0.1) * normal(1, 5)) == pytest.approx(0, abs=1e-12)
    assert uniformity(torch.zeros(9, 5)) == 0


def test_near_collapse_uniformity_is_twice_the_mean_squared_distance():
    codes = torch.ones(1, 6) + 1e-7 * normal(20, 6)
    u = codes / codes.norm(dim=1, keepdim=True)
    expected = -2 * 20 / 19 * 2 * u.var(0, correction=0).sum().item()
    # A product of codes that are not centred first would lose all digits of squares of 1e-14.
    assert uniformity(codes) == pytest.approx(expected, rel=1e-2)


def test_of_opposite_codes_uniformity_is_read_off():
    # One pair of distance 2, so the potential is exp(-8).
    assert uniformity(torch.tensor([[3.0, 0.0], [-0.1, 0.0]])) == pytest.approx(-8)


def test_a_sphere_in_many_dimensions_has_little_less_than_the_least_there_is():
    # Cosines of independent directions have a variance of 1 / D, so exp(4 u.v - 4) a mean of exp(8 / D - 4) or so.
    assert uniformity(normal(3000, 64)) == pytest.approx(-4 + 8 / 64, abs=5e-3)


@pytest.mark.parametrize(
    ("angle", "alpha", "expected"), [(0, 2, 0), (math.pi, 2, 4), (math.pi / 2, 2, 2), (math.pi, 1, 2)]
)
def test_alignment_is_a_power_of_the_distance_of_directions(angle, alpha, expected):
    hx = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    assert alignment(hx, 7 * hx @ turn.T, alpha) == pytest.approx(expected, abs=1e-6)  # of single precision


def test_alignment_wants_two_branches_of_one_space():
    with pytest.raises(ValueError, match="one space, got 3 and 2 features"):
        alignment(normal(4, 3), normal(4, 2))
    with pytest.raises(ValueError, match="got 4 and 5 rows"):
        alignment(normal(4, 3), normal(5, 3))


def test_one_code_alone_is_refused():
    with pytest.raises(ValueError, match="at least 2 codes, got a batch of 1"):
        uniformity(normal(1, 3))


def test_on_the_hypersphere_uniformity_is_that_of_y():
    hx, hy = normal(9, 4), normal(9, 4, seed=1)
    assert hypersphere(None, hx, hy) == {"uniformity": uniformity(hy), "alignment": alignment(hx, hy)}
