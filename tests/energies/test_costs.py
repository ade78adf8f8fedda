import pytest
import torch
from conftest import normal
from torch import nn

from ebm.energies import Critic, Effort, GoalDistance, Guardrail, Imagined, Jerk


def imagined(n=3, horizon=4, features=2, actions=2):
    return Imagined(normal(n, features), normal(n, horizon, features, seed=1), normal(n, horizon, actions, seed=2))


def test_a_distance_is_that_of_all_steps_the_last_or_the_closest():
    codes = torch.tensor([[[3.0], [1.0], [2.0]]])
    plan = Imagined(torch.zeros(1, 1), codes, torch.zeros(1, 3, 1))
    goal = torch.zeros(1, 1)
    assert GoalDistance("sum")(plan, goal).item() == 9 + 1 + 4
    assert GoalDistance("last")(plan, goal).item() == 4
    assert GoalDistance("closest")(plan, goal).item() == 1


def test_effort_is_the_sum_of_squares_and_jerk_that_of_changes():
    plan = Imagined(torch.zeros(1, 1), torch.zeros(1, 3, 1), torch.tensor([[[1.0, 0.0], [1.0, 2.0], [0.0, 2.0]]]))
    assert Effort()(plan, None).item() == 1 + 5 + 4
    assert Jerk()(plan, None).item() == 4 + 1


def test_costs_add_and_scale_as_numbers_do():
    plan, goal = imagined(), normal(3, 2, seed=5)
    whole = 2 * (GoalDistance() + 0.1 * Effort()) + Jerk() * 3
    expected = 2 * GoalDistance()(plan, goal) + 0.2 * Effort()(plan, goal) + 3 * Jerk()(plan, goal)
    torch.testing.assert_close(whole(plan, goal), expected)


def test_a_critic_is_asked_about_every_code_or_the_last():
    network = nn.Linear(2, 1).double()
    plan = imagined()
    torch.testing.assert_close(Critic(network)(plan, None), network(plan.codes).sum((1, 2)))
    torch.testing.assert_close(Critic(network, "last")(plan, None), network(plan.codes[:, -1])[:, 0])


def test_a_guardrail_costs_what_is_passed_of_it_and_nothing_below():
    rail = Guardrail(lambda codes: codes[..., 0], margin=0.5)
    codes = torch.tensor([[[-1.0], [-0.25], [2.0]]])
    plan = Imagined(torch.zeros(1, 1), codes, torch.zeros(1, 3, 1))
    assert rail.violation(plan).tolist() == [[-0.5, 0.25, 2.5]]
    assert rail(plan, None).item() == 2.75


def test_leading_axes_broadcast_against_the_goal():
    plan = imagined(4)
    many = Imagined(*(part.expand(5, *part.shape) for part in plan))
    goal = normal(4, 2)
    torch.testing.assert_close(GoalDistance()(many, goal)[3], GoalDistance()(plan, goal))


@pytest.mark.parametrize("cost", [GoalDistance, lambda over: Critic(nn.Identity(), over)])
def test_another_way_to_sum_is_refused(cost):
    with pytest.raises(ValueError, match="'sum'"):
        cost("mean")


def test_a_distance_without_a_goal_is_refused():
    with pytest.raises(ValueError, match="needs one"):
        GoalDistance()(imagined(), None)


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(weight):
    with pytest.raises(ValueError, match="finite"):
        weight * Effort()


def test_a_margin_that_no_data_could_give_is_refused():
    with pytest.raises(ValueError, match="margin"):
        Guardrail(lambda codes: codes[..., 0], float("inf"))
