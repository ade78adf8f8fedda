import pytest
import torch
from conftest import normal

from ebm.regularizers import Covariance


def test_two_features_cost_the_square_of_their_covariance():
    # cov = (1 * 2 + 1 * 2) / (2 - 1) = 4, twice in the matrix, over D = 2.
    codes = torch.tensor([[-1.0, -2.0], [1.0, 2.0]])
    assert Covariance()(codes).item() == pytest.approx(2 * 4.0**2 / 2)


def test_it_divides_by_the_features_and_not_by_their_pairs():
    codes = normal(20, 1).expand(20, 5)
    variance = codes[:, 0].var().item()
    assert Covariance()(codes).item() == pytest.approx(5 * 4 * variance**2 / 5, rel=1e-12)


def test_a_single_feature_has_no_other_to_repeat():
    assert Covariance()(normal(8, 1)) == 0


def test_it_is_the_sum_over_branches():
    a, b = normal(8, 3), normal(8, 3, seed=1)
    torch.testing.assert_close(Covariance()(a, b), Covariance()(a) + Covariance()(b), atol=1e-14, rtol=1e-14)


def test_it_does_not_see_shrinking_and_is_best_at_a_point():
    codes = normal(16, 4)
    # A second moment squared: the fourth power of the scale.
    torch.testing.assert_close(Covariance()(0.1 * codes), 1e-4 * Covariance()(codes), atol=1e-16, rtol=1e-10)
    assert Covariance()(torch.full((16, 4), 3.0)) == 0
