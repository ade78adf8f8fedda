"""W-MSE against its paper's formula, and what it does and does not see."""

from itertools import combinations

import pytest
import torch
from conftest import normal
from spectral import assert_same, views

from ebm.regularizers import WhitenedDistance


def by_cholesky(codes, epsilon):
    """Whitening by the definition: the inverse of the factor of the covariance, times each centred row."""
    covariance = (1 - epsilon) * codes.T.cov() + epsilon * torch.eye(codes.shape[1], dtype=codes.dtype)
    inverse = torch.linalg.inv(torch.linalg.cholesky(covariance))
    return torch.stack([inverse @ (row - codes.mean(0)) for row in codes])


def in_slices(codes, size, epsilon):
    return torch.cat([by_cholesky(part, epsilon) for part in codes.split(size)])


def official(codes, size, epsilon):
    """github.com/htdt/self-supervised, methods/w_mse.py, without its permutation: a mean over pairs of positives."""
    slices = [in_slices(h, size, epsilon) for h in codes]
    units = [z / z.norm(dim=1, keepdim=True) for z in slices]
    return torch.stack([(a - b).square().sum(1).mean() for a, b in combinations(units, 2)]).mean()


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize(("n", "d", "size"), [(12, 3, 12), (12, 3, 6), (24, 5, 8), (40, 7, 40)])
@pytest.mark.parametrize("epsilon", [0.0, 1e-4, 0.1])
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
def test_it_is_the_official_loss(n, d, size, epsilon, scale, count):
    codes = views(n, d, count, scale)
    assert_same(WhitenedDistance(size, epsilon)(*codes), official(codes, size, epsilon), codes)


@pytest.mark.parametrize(("n", "d"), [(4, 9), (6, 6), (2, 5)])
def test_of_fewer_rows_than_features_epsilon_makes_it_defined(n, d):
    codes = views(n, d)
    assert_same(WhitenedDistance(epsilon=0.1)(*codes), official(codes, n, 0.1), codes)
    assert WhitenedDistance(epsilon=0.0)(*codes).isnan()


def test_views_that_are_the_same_cost_nothing_and_opposite_ones_four():
    (a,) = views(20, 3, 1)
    # Roundings of a difference of two numbers near 2.
    assert WhitenedDistance()(a, a).item() == pytest.approx(0, abs=1e-12)
    assert WhitenedDistance()(a, -a).item() == pytest.approx(4, abs=1e-12)


def test_views_that_share_nothing_cost_two():
    # Cosines of independent directions in 16 dimensions have a deviation of 1/4, and the mean of 4000 one of 0.004.
    assert WhitenedDistance()(normal(4000, 16), normal(4000, 16, seed=1)).item() == pytest.approx(2, abs=0.04)


def test_it_sees_neither_the_scale_of_a_feature_nor_what_is_added_of_features_before_it():
    a, b = views(20, 3)
    mixed = torch.tensor([[0.01, 0, 0], [5, 3, 0], [-2, 1, 40]], dtype=torch.float64)
    ours = WhitenedDistance(epsilon=0.0)
    # Inverting the mixture loses its condition number, 4,000 and squared, of 16 digits.
    torch.testing.assert_close(ours(a @ mixed.T, b @ mixed.T), ours(a, b), rtol=1e-7, atol=1e-7)


def test_features_that_repeat_cost_nothing_while_the_views_agree_to_the_last_bit():
    repeated = normal(20, 1).expand(20, 4)
    assert WhitenedDistance()(repeated, repeated).item() == pytest.approx(0, abs=1e-12)


def test_codes_that_shrank_onto_a_point_cost_as_much_as_those_that_share_nothing():
    noise = [1 + 1e-3 * normal(4000, 16, seed=seed) for seed in (0, 1)]
    assert WhitenedDistance(epsilon=0.0)(*noise).item() == pytest.approx(2, abs=0.04)  # as above
    assert WhitenedDistance()(torch.ones(8, 4), torch.ones(8, 4)).item() == 2


def test_rows_that_are_left_over_are_whitened_with_those_before_them():
    a, b = views(11, 3)
    halves = [WhitenedDistance()(a[rows], b[rows]) * len(a[rows]) for rows in (slice(6), slice(6, 11))]
    torch.testing.assert_close(WhitenedDistance(size=5)(a, b), sum(halves) / 11, rtol=1e-12, atol=1e-12)  # one sum
    assert torch.equal(WhitenedDistance(size=12)(a, b), WhitenedDistance()(a, b))


def test_one_branch_is_refused_since_it_agrees_with_itself():
    with pytest.raises(ValueError, match="at least two branches, got one: give it both views"):
        WhitenedDistance()(normal(8, 3))


def test_a_sub_batch_of_one_is_refused():
    with pytest.raises(ValueError, match="a sub-batch of 1 rows has no covariance"):
        WhitenedDistance(size=1)
