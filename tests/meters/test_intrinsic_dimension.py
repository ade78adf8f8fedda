import math

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.data.surfaces import ThinSurface
from ebm.meters import effective_rank, intrinsic_dimension, maximum_likelihood, two_nn

ESTIMATES = [two_nn, maximum_likelihood]
every_estimate = pytest.mark.parametrize("estimate", ESTIMATES)


def distances_from(table, i, count):
    return sorted(math.dist(table[i], row) for j, row in enumerate(table) if j != i)[:count]


def slope_by_loops(codes, discarded):
    """Facco et al. 2017, steps 1 to 5 of their algorithm, the line by least squares."""
    table = codes.tolist()
    pairs = [distances_from(table, i, 2) for i in range(len(table))]
    ratios = sorted(math.log(second / first) for first, second in pairs if first > 0)
    kept = int((1 - discarded) * len(ratios))
    shares = [-math.log(1 - (i + 1) / len(ratios)) for i in range(kept)]
    return np.linalg.lstsq(np.array(ratios[:kept])[:, None], np.array(shares), rcond=None)[0].item()


def likelihood_by_loops(codes, neighbors):
    """Levina and Bickel 2004, eq. 8, its inverses averaged over rows by how many ratios each has."""
    table, logs = codes.tolist(), []
    for i in range(len(table)):
        *others, last = distances_from(table, i, neighbors)
        logs += [math.log(last / other) for other in others if other > 0]
    return len(logs) / sum(logs)


def flat(rows, dimension, space, seed=0):
    """A normal cloud of `dimension` dimensions, turned in a space of more."""
    directions = torch.linalg.qr(normal(space, space, seed=seed + 1)).Q[:dimension]
    return normal(rows, dimension, seed=seed) @ directions


@given(
    rows=st.integers(12, 40),
    features=st.integers(1, 6),
    discarded=st.sampled_from([0.1, 0.3]),
    seed=st.integers(0, 999),
)
def test_two_nn_is_the_slope_of_a_line_by_least_squares(rows, features, discarded, seed):
    codes = normal(rows, features, seed=seed)
    expected = slope_by_loops(codes, discarded)
    # Logarithms of ratios near 1 lose digits.
    assert two_nn(codes, discarded) == pytest.approx(expected, rel=1e-8)


@given(rows=st.integers(12, 40), features=st.integers(1, 6), neighbors=st.integers(2, 9), seed=st.integers(0, 999))
def test_the_maximum_of_the_likelihood_is_the_inverse_of_the_mean_over_codes_and_neighbours(
    rows, features, neighbors, seed
):
    codes = normal(rows, features, seed=seed)
    assert maximum_likelihood(codes, neighbors) == pytest.approx(likelihood_by_loops(codes, neighbors), rel=1e-8)


@given(rows=st.integers(30, 50), seed=st.integers(0, 999))
def test_neighbours_at_distance_0_are_left_out(rows, seed):
    codes = torch.cat([normal(rows, 2, seed=seed), normal(rows, 2, seed=seed)[:5]])
    assert maximum_likelihood(codes, 6) == pytest.approx(likelihood_by_loops(codes, 6), rel=1e-8)
    assert two_nn(codes) == pytest.approx(slope_by_loops(codes, 0.1), rel=1e-8)


def test_with_two_neighbours_the_likelihood_is_that_of_two_nn():
    codes = normal(200, 3)
    ratios = [second / first for first, second in (distances_from(codes.tolist(), i, 2) for i in range(200))]
    assert maximum_likelihood(codes, 2) == pytest.approx(200 / sum(map(math.log, ratios)), rel=1e-10)


@pytest.mark.parametrize(("dimension", "space"), [(1, 3), (2, 2), (2, 64), (4, 16)])
def test_flat_clouds_have_the_dimension_they_were_made_with_whatever_the_space(dimension, space):
    codes = flat(2000, dimension, space)
    # The error is d / sqrt(N) = 0.022 d, three times that and what the edge takes; the likelihood's less, by the
    # number of neighbours, but these are further away, where the cloud gets thinner.
    assert two_nn(codes) == pytest.approx(dimension, rel=0.08)
    assert maximum_likelihood(codes) == pytest.approx(dimension, rel=0.08)


@every_estimate
def test_they_see_that_a_code_of_full_rank_is_a_surface(estimate):
    codes = torch.from_numpy(ThinSurface(latents=2, dimensions=64).draw(2048, np.random.default_rng(0))[0])
    assert effective_rank(codes) > 60
    # It is bent within twenty neighbours, which raises the second one.
    assert estimate(codes) == pytest.approx(2, abs=0.2)


def test_of_normal_codes_in_many_dimensions_they_read_what_is_documented():
    codes = normal(2048, 64)
    # Two standard errors over seeds.
    assert two_nn(codes) == pytest.approx(38, abs=1.7)
    assert maximum_likelihood(codes) == pytest.approx(32, abs=0.7)


def test_noise_as_wide_as_the_distance_of_neighbours_raises_them():
    line, noise = flat(1000, 1, 8), normal(1000, 8, seed=5)
    for estimate in ESTIMATES:
        assert estimate(line + 1e-6 * noise) < 1.2
        assert estimate(line + 1e-2 * noise) > 3


@pytest.mark.parametrize("radius", [1e-1, 1e-5])
@every_estimate
def test_clusters_with_noise_in_every_direction_have_its_dimension_and_not_that_of_their_centres(estimate, radius):
    codes = normal(8, 16)[torch.arange(800) % 8] + radius * normal(800, 3, seed=1) @ normal(3, 16, seed=2)
    # As many as there are directions of noise, within the error of 800 codes in clusters of 100.
    assert estimate(codes) == pytest.approx(3, abs=0.5)


@given(shift=st.floats(-100, 100), exponent=st.integers(-80, 80), seed=st.integers(0, 999))
def test_they_are_free_of_place_of_scale_and_of_direction(shift, exponent, seed):
    codes = normal(60, 4, seed=seed)
    moved = (codes @ torch.linalg.qr(normal(4, 4, seed=seed + 1)).Q + shift) * 2.0**exponent
    for estimate in ESTIMATES:
        # A shift by 100 leaves 14 digits of a code, and of the ratio nearest to 1 fewer.
        assert estimate(moved) == pytest.approx(estimate(codes), rel=1e-7)


@every_estimate
@pytest.mark.parametrize(
    "codes",
    [
        torch.zeros(40, 3),
        torch.full((40, 3), 0.1),
        normal(4, 3)[torch.arange(120) % 4],
        normal(2, 5),
    ],
    ids=["zeros", "a point", "a few places", "two codes"],
)
def test_what_has_no_neighbours_apart_has_dimension_0(estimate, codes):
    assert estimate(codes) == 0


def test_where_each_code_comes_twice_two_nn_is_0_and_the_likelihood_that_of_the_places():
    places = flat(500, 2, 8)
    assert two_nn(torch.cat([places, places])) == 0
    # Of 500 codes with 10 neighbours each.
    assert maximum_likelihood(torch.cat([places, places])) == pytest.approx(2, abs=0.25)


@every_estimate
def test_of_codes_that_are_all_equally_far_from_one_another_it_is_that_of_the_space(estimate):
    assert estimate(torch.eye(30)) == 30
    turned = torch.eye(30, dtype=torch.float64) @ torch.linalg.qr(normal(30, 30)).Q
    assert estimate(turned) == 30


def test_the_meter_is_both_of_the_codes_of_y():
    hx, hy = normal(50, 3), flat(5000, 2, 6)
    assert intrinsic_dimension(None, hx, hy) == {
        "two_nn": pytest.approx(two_nn(hy), rel=1e-12),
        "maximum_likelihood": pytest.approx(maximum_likelihood(hy), rel=1e-12),
    }


@every_estimate
def test_of_a_sample_it_is_that_of_all_within_its_error_and_the_same_at_each_call(estimate):
    codes = flat(4000, 2, 6)
    sampled = estimate(codes, samples=1000)
    assert sampled == estimate(codes, samples=1000)
    # Three times d / sqrt(n) of 1,000 rows.
    assert sampled == pytest.approx(estimate(codes, samples=None), abs=0.19)


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.0"):
        two_nn(normal(9, 2), discarded=1.0)
    with pytest.raises(ValueError, match="2 `neighbors` at least, got 1"):
        maximum_likelihood(normal(9, 2), neighbors=1)
