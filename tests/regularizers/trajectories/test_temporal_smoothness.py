import pytest
import torch
from conftest import normal
from torch.autograd import gradcheck

from ebm.regularizers import TemporalSmoothness


def test_it_is_the_mean_square_of_what_changes_from_one_time_to_the_next():
    codes = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [1.0, 2.0]]]).double()
    assert TemporalSmoothness()(codes).item() == pytest.approx((1 + 4) / 2 / 2, rel=1e-12)


def test_codes_that_stay_cost_nothing():
    assert TemporalSmoothness()(normal(4, 1, 3).expand(4, 5, 3)) == 0


def test_its_slope_is_that_of_finite_differences():
    assert gradcheck(TemporalSmoothness(), normal(3, 4, 2).requires_grad_())


@pytest.mark.parametrize("shape", [(4, 1, 3), (4, 3)])
def test_one_time_alone_is_refused(shape):
    with pytest.raises(ValueError, match="at least 2 times"):
        TemporalSmoothness()(torch.zeros(shape))
