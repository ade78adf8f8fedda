import pytest
import torch
from conftest import normal
from torch.autograd import gradcheck

from ebm.regularizers import InverseDynamics


def told_by_change():
    """A linear reader of what was done, told exactly by how codes change."""
    term = InverseDynamics(2, 2, hidden=()).double()
    with torch.no_grad():
        term.network[0].weight.copy_(torch.cat([-torch.eye(2), torch.eye(2)], 1))
        term.network[0].bias.zero_()
    return term


def test_it_is_zero_where_the_change_of_the_code_tells_the_action():
    actions = normal(5, 3, 2)
    codes = torch.cat([torch.zeros(5, 1, 2), actions.cumsum(1)], 1)
    # Differences of cumulative sums round.
    assert told_by_change()(codes, actions).item() < 1e-28


def test_it_is_the_mean_square_of_what_is_told_wrong():
    actions = torch.tensor([[[1.0, 3.0]]]).double()
    assert told_by_change()(torch.zeros(1, 2, 2).double(), actions).item() == pytest.approx((1 + 9) / 2, rel=1e-12)


def test_its_slope_reaches_codes_and_network():
    term = InverseDynamics(3, 2).double()
    codes = normal(4, 3, 3).requires_grad_()
    assert gradcheck(term, (codes, normal(4, 2, 2, seed=1)))
    term(codes, normal(4, 2, 2, seed=1)).backward()
    assert codes.grad.any()
    assert all(parameter.grad.any() for parameter in term.parameters())


@pytest.mark.parametrize(("codes", "actions"), [((4, 3, 5), (4, 2, 2)), ((4, 3, 3), (4, 2, 1)), ((4, 3, 3), (4, 3, 2))])
def test_other_shapes_than_it_was_made_for_are_refused(codes, actions):
    with pytest.raises(ValueError, match="take codes"):
        InverseDynamics(3, 2)(torch.zeros(codes), torch.zeros(actions))


def test_no_features_or_actions_are_refused():
    with pytest.raises(ValueError, match="features and actions"):
        InverseDynamics(3, 0)
