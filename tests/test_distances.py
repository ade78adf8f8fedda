import pytest
import torch
from conftest import every, normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch.autograd import gradcheck

from ebm.distances import CosineDistance, Distance, EuclideanDistance, SquaredDistance

distances = pytest.mark.parametrize("kind", every("ebm.distances", Distance))
halves = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 8))
seeds = st.integers(0, 2**16)

# Sums of at most 8 products in double precision, of numbers up to 10, in two orders.
ROUNDING = {"atol": 1e-12, "rtol": 1e-12}


@pytest.mark.parametrize(
    ("distance", "by_scipy"),
    [
        (SquaredDistance(), lambda a, b: cdist(a, b, "sqeuclidean") / a.shape[1]),
        (EuclideanDistance(), lambda a, b: cdist(a, b, "euclidean")),
        (CosineDistance(), lambda a, b: cdist(a, b, "cosine")),
        (CosineDistance(scale=2.0), lambda a, b: 2 * cdist(a, b, "cosine")),
    ],
    ids=["squared", "euclidean", "cosine", "twice cosine"],
)
@given(shape=shapes, seed=seeds)
def test_pairs_are_the_distances_of_scipy(distance, by_scipy, shape, seed):
    n, m, d = shape
    a, b = normal(n, d, seed=seed), normal(m, d, seed=seed + 1)
    torch.testing.assert_close(distance.pairs(a, b), torch.from_numpy(by_scipy(a.numpy(), b.numpy())), **ROUNDING)


@distances
@given(shape=shapes, seed=seeds)
def test_pairs_are_the_distances_of_each_row_from_each_row(kind, shape, seed):
    n, m, d = shape
    a, b = normal(n, d, seed=seed), normal(m, d, seed=seed + 1)
    torch.testing.assert_close(kind().pairs(a, b), kind()(a[:, None], b[None, :]), **ROUNDING)


@distances
def test_leading_axes_broadcast(kind):
    a, b = normal(2, 1, 3, 5), normal(4, 1, 5, seed=1)
    distance = kind()(a, b)
    assert distance.shape == (2, 4, 3)
    torch.testing.assert_close(distance[1, 2, 0], kind()(a[1, 0, 0], b[2, 0]), **ROUNDING)


@distances
@given(seed=seeds)
def test_a_distance_is_symmetric_never_negative_and_zero_only_at_home(kind, seed):
    a, b = normal(4, 3, seed=seed), normal(4, 3, seed=seed + 1)
    distance = kind()
    torch.testing.assert_close(distance(a, b), distance(b, a), **ROUNDING)
    torch.testing.assert_close(distance(a, a), torch.zeros(4, dtype=torch.float64), **ROUNDING)
    assert (distance(a, b) > 1e-9).all()


@distances
@pytest.mark.parametrize("same", [False, True], ids=["of two sets", "of a set with itself"])
def test_the_gradient_of_pairs_is_that_of_the_distance(kind, same):
    a = normal(4, 3).requires_grad_()
    b = a if same else normal(4, 3, seed=1).requires_grad_()
    weights = normal(4, 4, seed=2)
    by_pairs = torch.autograd.grad((kind().pairs(a, b) * weights).sum(), (a, b))
    one_by_one = torch.autograd.grad((kind()(a[:, None], b[None, :]) * weights).sum(), (a, b))
    torch.testing.assert_close(by_pairs, one_by_one, **ROUNDING)


@distances
def test_the_gradient_of_a_distance_is_that_of_finite_differences(kind):
    assert gradcheck(kind(), (normal(4, 3).requires_grad_(), normal(4, 3, seed=1).requires_grad_()))


def test_the_euclidean_distance_of_a_code_from_itself_has_no_slope():
    a = normal(3, 4).requires_grad_()
    (slope,) = torch.autograd.grad(EuclideanDistance()(a, a.detach()).sum(), a)
    (slope_of_pairs,) = torch.autograd.grad(EuclideanDistance().pairs(a, a.detach()).diagonal().sum(), a)
    assert not slope.any()
    assert not slope_of_pairs.any()


def test_twice_the_cosine_distance_is_the_squared_distance_on_the_unit_sphere():
    a, b = (h / h.norm(dim=-1, keepdim=True) for h in (normal(5, 4), normal(5, 4, seed=1)))
    torch.testing.assert_close(CosineDistance(scale=2.0)(a, b), 4 * SquaredDistance()(a, b), **ROUNDING)


@pytest.mark.parametrize("kind", [SquaredDistance, EuclideanDistance])
def test_a_common_shift_costs_pairs_no_digits(kind):
    # |a|^2 + |b|^2 - 2 a.b of codes near 1000 would be off by 1e6 * 1e-7 = 0.1; a code near 1000 itself by 6e-5.
    a, b = normal(6, 8, dtype=torch.float32) + 1000, normal(5, 8, seed=1, dtype=torch.float32) + 1000
    exact = kind().pairs(a.double(), b.double())
    torch.testing.assert_close(kind().pairs(a, b).double(), exact, atol=1e-5, rtol=1e-5)


def test_pairs_of_copies_are_never_below_zero():
    a = normal(40, 64, dtype=torch.float32)
    assert (SquaredDistance().pairs(a, a) >= 0).all()


def nearby_codes(std, dtype=torch.float32):
    """Half of the matching rows a tenth of their spread apart, which is where the products of `pairs` cancel."""
    a = std * normal(8, 256)
    b = torch.cat([a[:4] + 0.1 * std * normal(4, 256, seed=1), std * normal(4, 256, seed=2)])
    return a.to(dtype), b.to(dtype)


@distances
def test_autocast_costs_the_distances_of_nearby_codes_no_digits(kind):
    a, b = nearby_codes(std=1)
    exact = kind().pairs(a.double(), b.double())
    with torch.autocast("cpu", torch.bfloat16):
        pairs, matching = kind().pairs(a, b), kind()(a, b)
    # Single precision: the terms that cancel are 200 times the smallest distance, and each is good to 1e-6.
    torch.testing.assert_close(pairs.double(), exact, rtol=1e-3, atol=0)
    torch.testing.assert_close(matching.double(), exact.diagonal(), rtol=1e-3, atol=0)


@distances
@halves
@pytest.mark.parametrize("std", [1, 4, 20])
def test_half_precision_codes_have_the_distances_of_their_values(kind, dtype, std):
    a, b = nearby_codes(std, dtype)
    exact = kind().pairs(a.double(), b.double())
    # An answer in bfloat16 is good to 2^-8, one in single precision to much more.
    torch.testing.assert_close(kind().pairs(a, b).double(), exact, rtol=1e-2, atol=0)
    torch.testing.assert_close(kind()(a, b).double(), exact.diagonal(), rtol=1e-2, atol=0)
