"""Maximum manifold capacity against the formula of its paper, and where its nuclear norm has a kink."""

import pytest
import torch
from conftest import normal
from spectral import SHAPES, assert_same, rotation, views, white

from ebm.regularizers import MMCR


def official(codes, local):
    """github.com/ThomasYerxa/mmcr, mmcr/imagenet/loss_mmcr.py, by singular values, a sample at a time."""
    units = [h / h.norm(dim=1, keepdim=True) for h in codes]
    centroids = sum(units) / len(units)
    each = [torch.linalg.svdvals(torch.stack(sample)).sum() for sample in zip(*units, strict=True)]
    return local * sum(each) / len(each) - torch.linalg.svdvals(centroids).sum()


@pytest.mark.parametrize(("n", "d"), SHAPES)
@pytest.mark.parametrize("local", [0.0, 0.01, 1.0])
@pytest.mark.parametrize("scale", [0.1, 3.0])
@pytest.mark.parametrize("count", [2, 3])
def test_it_is_the_official_loss_but_for_a_constant(n, d, local, scale, count):
    codes = views(n, d, count, scale)
    assert_same(MMCR(local)(*codes), official(codes, local) + (n * min(n, d)) ** 0.5, codes)


@pytest.mark.parametrize(("n", "d"), [(9, 4), (4, 9)])
def test_of_one_branch_it_is_the_nuclear_norm_of_its_directions(n, d):
    codes = views(n, d, 1)
    assert_same(MMCR()(*codes), official(codes, 0.0) + (n * min(n, d)) ** 0.5, codes)


@pytest.mark.parametrize(("n", "d"), [(16, 4), (8, 4), (4, 9), (2, 5)])
def test_views_that_agree_and_are_white_on_the_sphere_cost_nothing(n, d):
    a = 3 * white(n, d)
    assert MMCR()(a, a).item() == pytest.approx(0, abs=1e-12)  # roundings of a number of about 8
    assert MMCR()(a, a @ rotation(d)).item() > 1e-2  # as white, but not in agreement
    assert MMCR()(a + 1, a + 1).item() > 1e-2  # in agreement, but not as white


def test_views_that_are_opposite_leave_nothing_of_the_centroids():
    a = normal(9, 4)
    assert MMCR()(a, -a).item() == pytest.approx((9 * 4) ** 0.5, rel=1e-12)


def test_codes_at_one_point_have_one_direction():
    assert MMCR()(torch.ones(9, 4)).item() == pytest.approx((9 * 4) ** 0.5 - 9**0.5, rel=1e-6)  # single precision


def test_the_local_term_of_two_views_grows_with_the_angle_between_them():
    # Of unit vectors at an angle t the singular values are sqrt(1 + cos t) and sqrt(1 - cos t).
    angle = torch.tensor(0.3, dtype=torch.float64)
    a = torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64)
    b = torch.stack([angle.cos(), angle.sin()]).expand(3, 2)
    expected = (1 + angle.cos()).sqrt() + (1 - angle.cos()).sqrt()
    torch.testing.assert_close(MMCR(local=1.0)(a, b) - MMCR()(a, b), expected, rtol=1e-12, atol=1e-12)  # roundings


def test_it_sees_the_length_of_no_code_and_no_rotation_of_all():
    a, b = views(9, 4)
    torch.testing.assert_close(MMCR(0.1)(2 * a, 5 * b), MMCR(0.1)(a, b), rtol=1e-12, atol=1e-12)  # roundings
    turned = MMCR(0.1)(a @ rotation(4), b @ rotation(4))
    torch.testing.assert_close(turned, MMCR(0.1)(a, b), rtol=1e-12, atol=1e-12)


def test_a_shift_of_all_codes_is_seen_since_they_are_not_centred():
    a, b = views(9, 4)
    assert MMCR()(a + 10, b + 10) > 1.5 * MMCR()(a, b)


def test_the_gradient_where_singular_values_are_equal_is_the_polar_factor():
    a = white(16, 4).requires_grad_()
    (slope,) = torch.autograd.grad(MMCR()(a), a)
    # The polar factor of white codes is along the codes, and lengths are not seen: nothing is left of it.
    torch.testing.assert_close(slope, torch.zeros_like(a), rtol=0, atol=1e-12)  # roundings of 1


def test_branches_of_different_shapes_are_refused_by_what_came():
    with pytest.raises(ValueError, match=r"MMCR needs branches of one shape, whose rows match, got \(8, 3\), \(7, 3\)"):
        MMCR()(normal(8, 3), normal(7, 3))
