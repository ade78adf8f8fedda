"""The total coding rate against the formula of its papers, and the two shapes of codes at which it is highest."""

import math

import pytest
import torch
from conftest import normal
from spectral import SHAPES, assert_same, rotation, views, white

from ebm.regularizers import CodingRate


def official(codes, distortion):
    """github.com/tsb0601/EMP-SSL, loss.py, on codes that its network has put on the sphere; the mean over views."""
    rates = []
    for h in codes:
        z = h / h.norm(dim=1, keepdim=True)
        n, d = z.shape
        matrix = torch.eye(d, dtype=h.dtype) + d / (n * distortion) * sum(torch.outer(row, row) for row in z)
        rates.append(-torch.linalg.eigvalsh(matrix).log().sum() / 2)
    return sum(rates) / len(rates)


def highest(n, d, distortion):
    r = min(n, d)
    return r / 2 * math.log(1 + d / (r * distortion))


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("distortion", [0.2, 0.5, 3.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_it_is_the_official_loss_but_for_a_constant(n, d, distortion, scale, count):
    codes = views(n, d, count, scale)
    shifted = official(codes, distortion) + highest(n, d, distortion)
    assert_same(CodingRate(distortion)(*codes), shifted, codes)


@pytest.mark.parametrize(("n", "d"), [(16, 4), (8, 4), (4, 9), (2, 5)])
def test_codes_that_are_white_on_the_sphere_cost_nothing(n, d):
    assert CodingRate()(3 * white(n, d)).item() == pytest.approx(0, abs=1e-12)  # roundings of a number of about 5
    assert CodingRate()(white(n, d) + 0.1 * normal(n, d)).item() > 1e-3


@pytest.mark.parametrize("codes", [torch.ones(8, 4), normal(8, 1).abs() * torch.ones(4)], ids=["a point", "a ray"])
def test_codes_in_one_direction_have_the_rate_of_one(codes):
    expected = 4 / 2 * math.log(1 + 1 / 0.2) - math.log(1 + 4 / 0.2) / 2
    assert CodingRate()(codes).item() == pytest.approx(expected, rel=1e-6)  # single precision of the first


def test_codes_at_the_origin_have_no_rate():
    assert CodingRate()(torch.zeros(8, 4)).item() == pytest.approx(4 / 2 * math.log(1 + 1 / 0.2), rel=1e-6)


def test_it_sees_the_length_of_no_code_and_no_rotation_of_all():
    (h,) = views(9, 4, 1)
    lengths = normal(9, 1, seed=5).abs() + 0.1
    torch.testing.assert_close(CodingRate()(h * lengths), CodingRate()(h), rtol=1e-12, atol=1e-12)  # roundings
    torch.testing.assert_close(CodingRate()(h @ rotation(4)), CodingRate()(h), rtol=1e-12, atol=1e-12)


def test_a_shift_of_all_codes_is_seen_since_they_are_not_centred():
    (h,) = views(9, 4, 1)
    assert CodingRate()(h + 10) > 1.5 * CodingRate()(h)


def test_a_distortion_that_is_no_square_is_refused():
    with pytest.raises(ValueError, match="larger than 0, got 0"):
        CodingRate(distortion=0)
