import pytest
import torch
from conftest import normal

from ebm.regularizers import Variance


def codes_of_variance(*variances):
    """Two samples each, whose unbiased variance is half the square of how far they are apart."""
    apart = (2 * torch.tensor(variances, dtype=torch.float64)).sqrt()
    return torch.stack([-apart / 2, apart / 2])


def test_it_is_how_much_of_the_standard_deviation_is_missing():
    codes = codes_of_variance(0.25, 4.0, 0.81)
    # 1 - 0.5, none, 1 - 0.9; mean over three.
    assert Variance(epsilon=0.0)(codes).item() == pytest.approx((0.5 + 0.0 + 0.1) / 3, rel=1e-12)
    assert Variance(target=3.0, epsilon=0.0)(codes).item() == pytest.approx((2.5 + 1.0 + 2.1) / 3, rel=1e-12)


def test_codes_at_one_point_cost_the_target_but_for_epsilon():
    assert Variance()(torch.ones(8, 4).double()).item() == pytest.approx(1 - 1e-4**0.5, rel=1e-12)


def test_codes_that_vary_enough_cost_nothing_and_have_no_slope():
    codes = codes_of_variance(1.0, 9.0).requires_grad_()
    value = Variance()(codes)
    value.backward()
    assert value == 0
    assert not codes.grad.any()


def test_it_is_the_mean_over_branches():
    a, b = codes_of_variance(0.25), codes_of_variance(0.81)
    assert Variance(epsilon=0.0)(a, b).item() == pytest.approx((0.5 + 0.1) / 2, rel=1e-12)
    assert Variance(epsilon=0.0)(a, a, b).item() == pytest.approx((0.5 + 0.5 + 0.1) / 3, rel=1e-12)


def test_it_does_not_see_features_that_repeat_one_another():
    codes = 2 * normal(32, 1)
    assert Variance()(codes.expand(32, 4)) == Variance()(codes) == 0
