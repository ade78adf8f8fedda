import math

import numpy as np
import pytest
import torch
from scipy import integrate
from scipy.stats import kstest, norm, uniform
from sklearn.feature_selection import mutual_info_regression

from ebm.data import (
    Circle,
    CorrelatedNormal,
    IndependentNormal,
    IndependentUniform,
    MirroredCheckerboard,
    Parity,
    SignFlip,
    Spiral,
    Spirals,
    ThinSurface,
)

PLANE = [
    *(Spiral(), Spiral(noise=0.05), Circle(), MirroredCheckerboard(), SignFlip(), CorrelatedNormal()),
    *(IndependentNormal(), IndependentUniform()),
]
MORE = [Parity(), Spirals(), Spirals(rotated=True), ThinSurface(dimensions=16), ThinSurface(latents=4)]
every_distribution = pytest.mark.parametrize("source", [*PLANE, *MORE], ids=repr)
plane = pytest.mark.parametrize("source", PLANE, ids=repr)
# Draws are the same at each call, so that a test fails always or never: one of a hundred would by chance.
CHANCE = 0.01


def drawn(source, count=20_000, seed=0):
    return source.draw(count, np.random.default_rng(seed))[0]


def entropy_on_the_line(density, reach):
    """`-integral p log p`, by adaptive quadrature."""

    def integrand(x):
        p = density(x)
        return -p * math.log(p) if p > 0 else 0.0

    return integrate.quad(integrand, -reach, reach, limit=500)[0]


@every_distribution
def test_points_are_centred_and_of_unit_variance_in_the_population(source):
    points = drawn(source)
    covariance = np.cov(points.T)
    if isinstance(source, CorrelatedNormal):
        covariance[0, 1] = covariance[1, 0] = covariance[0, 1] - source.rho
    # Standard errors of 20,000 points: 1/141 of a mean, below sqrt(2)/141 of a variance; five of them, for a maximum.
    assert np.abs(points.mean(0)).max() < 5 / 141
    assert np.abs(covariance - np.eye(points.shape[1])).max() < 5 * math.sqrt(2) / 141


@every_distribution
def test_points_are_not_standardised_by_their_own_moments(source):
    assert np.abs(drawn(source, 50).mean(0)).max() > 1e-3


@every_distribution
def test_a_draw_is_the_same_from_the_same_generator_and_labelled(source):
    points, labels = source.draw(64, np.random.default_rng(3))
    again, others = (source.draw(64, np.random.default_rng(seed))[0] for seed in (3, 4))
    assert np.array_equal(points, again)
    assert not np.isin(points, others).any()
    assert points.dtype == np.float64
    assert labels.shape == (64,)


@every_distribution
def test_a_source_loads_single_precision_points_with_labels_and_parts_that_share_none(source):
    parts = [source.load(part)[:20] for part in ("train", "test")]
    for points, labels in parts:
        assert (points.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert not torch.isin(parts[0][0], parts[1][0]).any()


@plane
def test_the_nearest_neighbours_estimate_agrees_with_the_information(source):
    x, y = drawn(source, 4000).T
    estimate = mutual_info_regression(x[:, None], y, n_neighbors=3, random_state=0)[0]
    # Kraskov's estimate at 4,000 points has a standard error near .02, and on thin curves a bias of about as much.
    assert estimate == pytest.approx(source.information, abs=0.08)


@pytest.mark.parametrize(("source", "nats"), [(Spiral(), 1.537503), (Circle(), 1.158283)], ids=["spiral", "circle"])
def test_the_information_of_a_curve_is_the_mean_log_ratio_of_densities(source, nats):
    """The density as a sum over 4,000 even steps along the curve, not Gauss's nodes; means over draws, not a grid."""
    steps = (np.arange(4000) + 0.5) / 4000
    mean, whitening = source._whitening
    precision = np.linalg.inv(source.noise**2 * whitening @ whitening)
    centres, points = (source.trace(steps) - mean) @ whitening, drawn(source, 2000)
    apart = points[:, None] - centres
    joint = np.exp(-np.einsum("npi,ij,npj->np", apart, precision, apart) / 2).mean(1) * math.sqrt(
        np.linalg.det(precision)
    )
    widths = np.sqrt(np.diag(np.linalg.inv(precision)))
    single = [np.exp(-((apart[..., i] / widths[i]) ** 2) / 2).mean(1) / widths[i] for i in (0, 1)]
    ratios = np.log(joint / (single[0] * single[1]))
    assert abs(ratios.mean() - nats) < 4 * ratios.std() / math.sqrt(2000)  # four standard errors of the mean
    assert source.information == pytest.approx(nats, abs=1e-6)  # the digits written


def test_the_marginal_of_a_noisy_circle_has_the_entropy_that_adaptive_quadrature_finds():
    """`information` is made of such entropies; this one is by an integral inside another, of SciPy."""
    circle = Circle(noise=0.2)
    radius, width = 1 / math.sqrt(0.5 + 0.04), 0.2 / math.sqrt(0.5 + 0.04)

    def density(x):
        angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)  # periodic: converges faster than any power
        return float(norm.pdf(x, radius * np.cos(angles), width).mean())

    def radial(r):  # a normal around a circle, at distance r from the centre, by the same sum
        angles = np.linspace(0, 2 * np.pi, 400, endpoint=False)
        squares = r**2 + radius**2 - 2 * r * radius * np.cos(angles)
        return float(np.exp(-squares / (2 * width**2)).mean()) / (2 * np.pi * width**2)

    joint = integrate.quad(lambda r: -2 * np.pi * r * radial(r) * math.log(radial(r)), 0, 4)[0]
    expected = 2 * entropy_on_the_line(density, 4) - joint
    assert circle.information == pytest.approx(expected, abs=1e-6)  # what quad promises is 1e-8


def test_less_noise_is_more_information():
    values = [Spiral(noise=noise).information for noise in (0.1, 0.05, 0.02)]
    assert values == sorted(values)


def test_the_checkerboard_has_uniform_coordinates_on_half_of_the_squares():
    points = drawn(MirroredCheckerboard(), 4000)
    squares = np.floor(points * 4 / math.sqrt(12) + 2).astype(int)
    assert {tuple(square) for square in squares} == {
        *((0, 0), (0, 2), (1, 1), (1, 3), (2, 1), (2, 3), (3, 0), (3, 2)),
    }
    assert all(kstest(x, uniform(-math.sqrt(3), math.sqrt(12)).cdf).pvalue > CHANCE for x in points.T)


@pytest.mark.parametrize("coefficient", [0.3, 0.95])
def test_the_information_of_a_sign_flip_is_the_entropy_of_y_less_that_of_y_given_x(coefficient):
    width = math.sqrt(1 - coefficient**2)

    def given(x):
        ends = coefficient * x * np.array([-1.0, 1.0])
        return entropy_on_the_line(lambda y: float(norm.pdf(y, ends, width).mean()), 9)

    conditional = integrate.quad(lambda x: 2 * norm.pdf(x) * given(x), 0, 8, epsabs=1e-6)[0]
    expected = math.log(2 * math.pi * math.e) / 2 - conditional
    assert SignFlip(coefficient=coefficient).information == pytest.approx(expected, abs=1e-5)  # quad in quad


def test_the_coordinates_of_a_sign_flip_are_normal():
    assert all(kstest(x, norm.cdf).pvalue > CHANCE for x in drawn(SignFlip(), 4000).T)


@pytest.mark.parametrize("rho", [-0.9, 0.2])
def test_correlated_normals_have_the_information_of_the_determinant(rho):
    covariance = np.cov(drawn(CorrelatedNormal(rho=rho), 100_000).T)
    # The log-determinant of 100,000 points; five standard errors of rho / sqrt(N).
    estimate = -np.linalg.slogdet(covariance)[1] / 2 + np.log(np.diag(covariance)).sum() / 2
    assert CorrelatedNormal(rho=rho).information == pytest.approx(estimate, abs=5 / math.sqrt(100_000))


def test_any_two_coordinates_of_a_parity_are_independent_and_the_three_signs_have_an_even_product():
    points = drawn(Parity(), 4000)
    assert (points.prod(1) > 0).all()
    independent = drawn(IndependentNormal(), 100_000, seed=1).prod(1)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert kstest(points[:, i] * points[:, j], independent).pvalue > CHANCE
    assert all(kstest(x, norm.cdf).pvalue > CHANCE for x in points.T)


@pytest.mark.parametrize(("latents", "bandwidth"), [(1, 40.0), (2, 4.0), (4, 4.0)])
def test_the_covariance_of_a_thin_surface_is_the_identity_by_quadrature(latents, bandwidth):
    """Means over Gauss-Legendre nodes of the latents in place of the closed form."""
    surface = ThinSurface(latents=latents, dimensions=12, bandwidth=bandwidth)
    nodes, weights = np.polynomial.legendre.leggauss({1: 200, 2: 60, 4: 24}[latents])
    latent = np.stack([axis.ravel() for axis in np.meshgrid(*[nodes] * latents)], 1)
    weight = np.prod([axis.ravel() for axis in np.meshgrid(*[weights / 2] * latents)], 0)
    points = surface.place(latent)
    np.testing.assert_allclose(weight @ points, 0, atol=1e-6)  # what 24 nodes a latent leave of the integral
    np.testing.assert_allclose((points.T * weight) @ points, np.eye(12), atol=1e-6)


@pytest.mark.parametrize("latents", [1, 2, 4])
def test_a_thin_surface_has_as_many_tangents_as_latents_and_labels_that_are_orthants(latents):
    surface = ThinSurface(latents=latents)
    centre, step = np.full((1, latents), 0.3), 1e-5
    moved = surface.place(centre + step * np.random.default_rng(0).normal(size=(100, latents)))
    values = np.linalg.svd((moved - surface.place(centre)) / step, compute_uv=False)
    # What is bent over a step: the frequencies are below 600, so that it is below 600 * 1e-5 of what is straight.
    assert values[latents:].max() < 600 * step * values[latents - 1] * 10
    assert len(np.unique(surface.draw(2000, np.random.default_rng(0))[1])) == 2**latents


def test_a_surface_with_too_low_a_bandwidth_is_refused():
    with pytest.raises(ValueError, match="raise `bandwidth`"):
        ThinSurface(latents=1, bandwidth=1.0)


def test_spirals_are_independent_pairs_and_have_the_information_of_all():
    assert Spirals(dimensions=6).information == pytest.approx(3 * Spiral().information)
    points = drawn(Spirals(dimensions=4), 2000)
    for i, j, nats in ((0, 1, 1.5375), (2, 3, 1.5375), (0, 2, 0.0), (1, 3, 0.0)):
        estimate = mutual_info_regression(points[:, [i]], points[:, j], n_neighbors=3, random_state=0)[0]
        assert estimate == pytest.approx(nats, abs=0.08)  # as above


def test_rotated_spirals_are_a_rotation_of_those_that_are_not():
    straight, rotated = drawn(Spirals()), drawn(Spirals(rotated=True))
    rotation = np.linalg.lstsq(straight, rotated, rcond=None)[0]
    np.testing.assert_allclose(straight @ rotation, rotated, atol=1e-12)  # rounding
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(8), atol=1e-12)


def test_the_information_of_one_rotated_spiral_is_that_of_its_two_projections():
    """In the plane the density of a coordinate is a mixture of normals, which adaptive quadrature can integrate."""
    rotated, spiral = Spirals(dimensions=2, rotated=True), Spiral()
    expected = spiral.negentropy
    for column in rotated._rotation.T:
        centres, weights, width = spiral.along(column)
        grid = np.arange(-4, 4, width / 4)
        density = norm.pdf(grid[:, None], centres, width) @ weights
        expected -= math.log(2 * math.pi * math.e) / 2 + np.trapezoid(density * np.log(density + 1e-300), grid)
    assert rotated.information == pytest.approx(expected, abs=1e-3)  # what the bins cost, as said


def test_a_rotation_in_many_dimensions_leaves_coordinates_normal_and_the_information_that_of_the_whole():
    points, per_spiral = drawn(Spirals(dimensions=128, rotated=True), 2000), Spiral().negentropy
    assert kstest(points[:, 0], norm.cdf).pvalue > CHANCE
    assert Spirals(dimensions=32, rotated=True).information == pytest.approx(16 * per_spiral, rel=1e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Spiral(noise=0.0), "noise is 0.0"),
        (lambda: SignFlip(coefficient=1.0), "coefficient is 1.0"),
        (lambda: CorrelatedNormal(rho=-1.0), "rho is -1.0"),
        (lambda: Spirals(dimensions=3), "3 dimensions cannot be paired"),
    ],
)
def test_what_has_infinite_information_or_no_pairs_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
