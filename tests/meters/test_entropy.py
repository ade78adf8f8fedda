import math

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma, gamma
from scipy.stats import multivariate_normal

from ebm.data.dependence import IndependentNormal, Spiral
from ebm.data.surfaces import ThinSurface
from ebm.meters import entropy, gaussian_entropy, kozachenko_leonenko, negentropy, quantised_entropy

NORMAL = math.log(2 * math.pi * math.e) / 2  # nats of one normal dimension of variance 1


def drawn(source, rows, seed=0):
    return torch.from_numpy(source.draw(rows, np.random.default_rng(seed))[0])


def by_loops(codes, neighbors):
    """Kraskov et al. 2004, eq. 20, whose distances are twice the radius."""
    table = codes.tolist()
    count, features = codes.shape
    unit = math.pi ** (features / 2) / gamma(1 + features / 2) / 2**features
    radii = [sorted(math.dist(a, b) for j, b in enumerate(table) if j != i)[neighbors - 1] for i, a in enumerate(table)]
    logs = [math.log(2 * radius) for radius in radii]
    return -digamma(neighbors) + digamma(count) + math.log(unit) + features / count * sum(logs)


@given(rows=st.integers(12, 40), features=st.integers(1, 6), seed=st.integers(0, 2**16))
def test_the_gaussian_entropy_is_that_of_a_normal_with_the_covariance_of_the_codes(rows, features, seed):
    codes = normal(rows, features, seed=seed) @ normal(features, features, seed=seed + 1)
    covariance = np.cov(codes.numpy().T, bias=True).reshape(features, features)
    # A condition number of 1e6 costs as many of 16 digits.
    assert gaussian_entropy(codes) == pytest.approx(multivariate_normal(cov=covariance).entropy(), abs=1e-8)


def test_dimensions_of_unlike_size_do_not_drown_one_another():
    codes, sizes = normal(500, 4), torch.tensor([1e-7, 1.0, 1e7, 1e-3], dtype=torch.float64)
    # Of their covariance, whose eigenvalues are 28 orders apart, float64 would see two.
    assert gaussian_entropy(codes * sizes) == pytest.approx(gaussian_entropy(codes) - 3 * math.log(10), abs=1e-10)


@pytest.mark.parametrize("lost", [1, 2, 4])
def test_the_gaussian_entropy_of_a_singular_code_is_finite_and_falls_with_each_direction_lost(lost):
    whole = normal(200, 5)
    sums = torch.cat([whole[:, :-lost], whole[:, :1].expand(-1, lost)], 1)
    constant = torch.cat([whole[:, :-lost], torch.ones(200, lost)], 1)
    assert gaussian_entropy(whole) - gaussian_entropy(sums) > 12 * lost
    assert gaussian_entropy(whole) - gaussian_entropy(constant) > 30 * lost
    assert gaussian_entropy(constant) > -1000


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_codes_that_are_all_the_same_have_less_entropy_than_any_others_and_a_finite_one(value):
    point = torch.full((9, 2), value)
    for measure in (gaussian_entropy, kozachenko_leonenko):
        assert math.isfinite(measure(point))
        assert measure(point) < measure(value + 1e-6 * normal(9, 2)) - 30


@given(rows=st.integers(8, 30), features=st.integers(1, 5), neighbors=st.integers(1, 5), seed=st.integers(0, 999))
def test_kozachenko_leonenko_is_the_published_formula_row_by_row(rows, features, neighbors, seed):
    codes = normal(rows, features, seed=seed)
    assert kozachenko_leonenko(codes, neighbors) == pytest.approx(by_loops(codes, neighbors), abs=1e-10)


@pytest.mark.parametrize(
    ("codes", "nats"),
    [
        (normal(4000, 1), NORMAL),
        (normal(4000, 3), 3 * NORMAL),
        (torch.special.ndtr(normal(4000, 2)), 0.0),
        (3 * torch.special.ndtr(normal(4000, 2)), 2 * math.log(3)),
        (-torch.special.ndtr(normal(4000, 1)).log(), 1.0),
    ],
    ids=["normal", "normal in 3", "uniform", "wider uniform", "exponential"],
)
def test_by_neighbours_the_entropy_of_known_densities_is_found(codes, nats):
    # Four standard errors: log p varies by about 1, and log r_3 by .6 D.
    assert kozachenko_leonenko(codes) == pytest.approx(nats, abs=0.08)


@given(scale=st.floats(1e-20, 1e20), shift=st.floats(-10, 10), seed=st.integers(0, 999))
@pytest.mark.parametrize("measure", [gaussian_entropy, kozachenko_leonenko])
def test_larger_codes_have_more_by_the_logarithm_of_the_volume_and_moved_ones_as_much(measure, scale, shift, seed):
    codes = normal(40, 3, seed=seed)
    # A shift of ten costs a digit.
    assert measure((codes + shift) * scale) == pytest.approx(measure(codes) + 3 * math.log(scale), abs=1e-9)


def test_codes_that_repeat_have_the_entropy_of_distances_of_rounding():
    places = normal(5, 2)
    repeated = places[torch.arange(50) % 5]
    radius = torch.finfo(torch.float64).eps * float(places.abs().max())
    expected = digamma(50) - digamma(3) + math.log(math.pi) + 2 * math.log(radius)
    assert kozachenko_leonenko(repeated) == pytest.approx(expected, rel=1e-12)


def test_in_many_dimensions_normal_codes_read_too_much_by_what_is_documented():
    codes = normal(2048, 64)
    # Two standard errors over seeds.
    assert kozachenko_leonenko(codes) - 64 * NORMAL == pytest.approx(9, abs=1)
    assert negentropy(codes) == pytest.approx(-10, abs=1)


@given(rows=st.integers(20, 60), features=st.integers(1, 5), shift=st.floats(-10, 10), seed=st.integers(0, 999))
def test_negentropy_is_the_same_after_any_affine_map(rows, features, shift, seed):
    codes, mixing = normal(rows, features, seed=seed).pow(3), normal(features, features, seed=seed + 1)
    # A mixing that is nearly singular costs digits, as does taking it back.
    assert negentropy(codes @ mixing + shift) == pytest.approx(negentropy(codes), abs=1e-5)


def test_negentropy_is_the_difference_of_the_two_entropies_for_white_codes():
    codes = normal(300, 3).pow(3)
    centred = codes - codes.mean(0)
    white = centred @ torch.linalg.inv(torch.linalg.cholesky(centred.T @ centred / 300)).T
    assert negentropy(white) == pytest.approx(gaussian_entropy(white) - kozachenko_leonenko(white), abs=1e-9)


@pytest.mark.parametrize(
    ("codes", "nats"),
    [
        (drawn(IndependentNormal(), 4000), 0.0),
        (torch.special.ndtr(normal(4000, 2)), 2 * (NORMAL - math.log(12) / 2)),
        (drawn(Spiral(), 4000), Spiral().negentropy),
    ],
    ids=["normal", "uniform", "spiral"],
)
def test_negentropy_is_how_far_a_density_is_from_normal(codes, nats):
    # As for the entropy; the spiral is .02 wide, which 4,000 points resolve less well.
    assert negentropy(codes) == pytest.approx(nats, abs=0.08)


def test_directions_that_others_determine_count_nothing_for_negentropy():
    codes = drawn(Spiral(), 500)
    more = torch.cat([codes, codes @ normal(2, 3), torch.ones(500, 2)], 1)
    # The part of noise of 1e-16 in directions of 1e-12 at least.
    assert negentropy(more) == pytest.approx(negentropy(codes), abs=1e-6)


def test_of_fewer_codes_than_dimensions_negentropy_is_that_of_as_many_directions():
    codes = normal(30, 100)
    plane = (codes - codes.mean(0)) @ torch.linalg.qr((codes[:29] - codes[29]).T).Q
    assert negentropy(codes) == pytest.approx(negentropy(plane), abs=1e-6)


def test_negentropy_sees_a_thin_surface_in_a_code_of_full_rank():
    surface = drawn(ThinSurface(latents=2, dimensions=64), 2048)
    assert negentropy(surface) > 60


@pytest.mark.parametrize("places", [2, 4, 16])
def test_the_quantised_entropy_of_so_many_places_is_the_logarithm_of_their_number_in_that_of_clusters(places):
    codes = 10 * torch.eye(places)[torch.arange(320) % places]
    assert quantised_entropy(codes) == pytest.approx(math.log(places) / math.log(16), abs=1e-12)


def test_with_two_clusters_the_quantised_entropy_is_that_of_their_shares():
    codes = torch.cat([normal(30, 3), 100 + normal(10, 3, seed=1)])
    expected = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(2)
    assert quantised_entropy(codes, clusters=2) == pytest.approx(expected, abs=1e-12)


@given(exponent=st.integers(-90, 90), seed=st.integers(0, 99))
def test_the_quantised_entropy_is_free_of_scale(exponent, seed):
    codes = normal(50, 3, seed=seed)
    assert quantised_entropy(codes * 2.0**exponent, 4) == pytest.approx(quantised_entropy(codes, 4), abs=1e-12)


def test_the_quantised_entropy_hardly_tells_a_spiral_from_a_normal_cloud_nor_a_surface_from_a_full_space():
    flat, spiral = drawn(IndependentNormal(), 2048), drawn(Spiral(), 2048)
    full, surface = normal(2048, 64), drawn(ThinSurface(latents=2, dimensions=64), 2048)
    assert all(0.93 < quantised_entropy(codes) <= 1 for codes in (flat, spiral, full, surface))


def test_the_meter_is_the_four_of_the_codes_of_y():
    hx, hy = normal(60, 2), normal(60, 3, seed=1)
    assert entropy(None, hx, hy) == {
        "entropy_gaussian": gaussian_entropy(hy),
        "entropy_neighbors": kozachenko_leonenko(hy),
        "negentropy": negentropy(hy),
        "entropy_quantised": quantised_entropy(hy),
    }


@pytest.mark.parametrize("measure", [kozachenko_leonenko, negentropy])
def test_of_a_sample_it_is_that_of_all_within_its_error_and_the_same_at_each_call(measure):
    codes = normal(3000, 2)
    sampled = measure(codes, samples=1000)
    assert sampled == measure(codes, samples=1000)
    assert sampled != measure(codes, samples=None)
    # Three times the 1.6 by which the terms vary, over the root of 1,000.
    assert sampled == pytest.approx(measure(codes, samples=None), abs=0.15)


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="asked for 0"):
        kozachenko_leonenko(normal(9, 2), neighbors=0)
    with pytest.raises(ValueError, match="2 `clusters` at least, got 1"):
        quantised_entropy(normal(9, 2), clusters=1)
