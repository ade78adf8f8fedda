"""What each regularizer sees of a dependence that leaves no covariance, and how it bears codes of every kind."""

import pytest
import torch
from conftest import normal
from dependence import parabola, parity, ring, surprise, value_of

from ebm.regularizers import (
    HSIC,
    Covariance,
    DistanceCorrelation,
    KoLeo,
    RandomFeatureHSIC,
    SIGReg,
    SlicedAndersonDarling,
    SlicedCramerVonMises,
    SlicedWasserstein,
    Uniformity,
)

SLICED = [SIGReg, SlicedCramerVonMises, SlicedAndersonDarling, SlicedWasserstein]
OF_PAIRS = [HSIC, RandomFeatureHSIC, DistanceCorrelation]
ON_THE_SPHERE = [KoLeo, Uniformity]
every_kind = pytest.mark.parametrize("kind", SLICED + OF_PAIRS + ON_THE_SPHERE)


@pytest.mark.parametrize("codes", [parabola, ring])
@pytest.mark.parametrize("kind", SLICED + OF_PAIRS)
def test_two_dimensions_that_depend_on_one_another_are_seen_whatever_their_covariance(kind, codes):
    assert surprise(kind(), codes()) > 5  # standard deviations of 20 shuffles, which a chance all but never reaches


@pytest.mark.parametrize("codes", [ring, parity])
def test_covariance_does_not_see_them(codes):
    assert abs(surprise(Covariance(), codes())) < 3


@pytest.mark.parametrize("kind", SLICED + ON_THE_SPHERE)
def test_three_dimensions_are_seen_of_which_no_two_depend_on_one_another(kind):
    assert surprise(kind(), parity()) > 5


@pytest.mark.parametrize("kind", OF_PAIRS)
def test_what_looks_at_pairs_does_not_see_those_three(kind):
    assert abs(surprise(kind(), parity())) < 3


def shared(n, d, std):
    """Codes with something in common to all dimensions."""
    return std * (normal(n, d) + 0.3 * normal(n, 1, seed=1))


def value_and_gradient(kind, codes):
    codes = codes.detach().clone().requires_grad_()
    value = value_of(kind(), codes)
    value.backward()
    return value.detach(), codes.grad


@every_kind
def test_in_single_precision_the_gradient_is_that_of_double(kind):
    _, gradient = value_and_gradient(kind, shared(400, 8, 1).float())
    _, slope = value_and_gradient(kind, shared(400, 8, 1).float().double())
    # Roundings of 6e-8 times the few hundred terms of a sum, at worst.
    assert (gradient.double() - slope).norm() < 1e-4 * slope.norm()


@every_kind
@pytest.mark.parametrize(
    "codes",
    [
        torch.zeros(8, 4),
        torch.full((8, 4), 3.3),
        normal(8, 1).float().expand(8, 4),
        normal(4, 4).float().repeat(2, 1),
        torch.cat([normal(8, 3).float(), torch.ones(8, 1)], 1),
        1e-20 * normal(8, 4).float(),
        1e10 * normal(8, 4).float(),
        normal(2, 1).float(),
    ],
    ids=["zero", "constant", "one dimension", "duplicates", "one constant", "tiny", "huge", "least"],
)
def test_no_code_gives_a_value_or_a_gradient_that_is_not_finite(kind, codes):
    value, gradient = value_and_gradient(kind, codes)
    assert value.isfinite()
    assert gradient.isfinite().all()


@every_kind
def test_in_blocks_it_is_what_it_is_at_once(kind, monkeypatch):
    codes = normal(30, 7)
    at_once = value_and_gradient(kind, codes)
    for name in ("blocks.SIZE", "koleo.SIZE", "dimensions.BLOCK"):
        monkeypatch.setattr(f"ebm.regularizers.{name}", 2000)  # two or three rows, slices or dimensions
    # The same sums in another order.
    torch.testing.assert_close(value_and_gradient(kind, codes), at_once, rtol=1e-10, atol=1e-12)
