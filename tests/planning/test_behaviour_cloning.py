"""What was done on the way to a place is done again to get there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ebm.planning import GoalConditionedCloning, TrueDynamics, play
from ebm.planning.behaviour_cloning import _hindsight
from ebm.worlds import TwoRooms, Wander, simulate

WORLD = TwoRooms()


class Difference(nn.Module):
    """Goal less code, of the first two features."""

    def forward(self, both: Tensor) -> Tensor:
        code, goal = both.chunk(2, -1)
        return (goal - code)[..., :2]


class Reading(nn.Module):
    """Positions alone, as dynamics that are never asked for a step."""

    sees_states = True

    def read(self, states: Tensor) -> Tensor:
        return states[..., :2]


def test_a_goal_is_a_later_time_of_the_same_trajectory_and_the_action_the_one_before() -> None:
    torch.manual_seed(0)
    steps = 7
    names = torch.arange(50)[:, None] * 100 + torch.arange(steps + 1)
    code, goal, done = _hindsight(names[..., None].float(), names[:, :steps, None].float(), 4096)
    assert bool((code // 100 == goal // 100).all())
    assert bool((goal > code).all())
    torch.testing.assert_close(done, code)
    ahead = (goal - code).long().flatten()
    assert set(ahead.tolist()) == set(range(1, steps + 1))
    now = (code % 100).long().flatten()
    for time in range(steps):
        share = float((now == time).float().mean())
        assert abs(share - 1 / steps) < 0.025  # 4.5 deviations of a share of 4096 draws


def test_cloning_learns_the_direction_of_the_goal_from_walks_at_random() -> None:
    torch.manual_seed(0)
    walks = simulate(TwoRooms(anywhere=True), Wander(), 500, 12, torch.Generator().manual_seed(0))
    agent = GoalConditionedCloning.fit(Reading(), walks.states[..., :2], walks.actions, steps=300, slowest=0.05)
    here = torch.tensor([[0.2, 0.5]]).expand(4, 2)
    ways = torch.tensor([[0.1, 0.0], [-0.1, 0.0], [0.0, 0.2], [0.0, -0.2]])
    actions = agent.act(here, here + ways)
    cosines = nn.functional.cosine_similarity(actions, ways)
    assert bool((cosines > 0.8).all()), cosines  # within 37 degrees, after a second of training


def test_small_means_are_scaled_up_to_the_edge_of_the_box_and_the_smallest_less() -> None:
    agent = GoalConditionedCloning(Reading(), Difference(), slowest=0.2)
    seen, goal = torch.zeros(4, 5), torch.tensor([[0.4, -0.2], [0.1, 0.0], [0.0, 0.0], [7.0, 14.0]])
    expected = torch.tensor([[1.0, -0.5], [0.5, 0.0], [0.0, 0.0], [0.5, 1.0]])
    torch.testing.assert_close(agent.act(seen, goal), expected)
    as_it_is = GoalConditionedCloning(Reading(), Difference(), slowest=1.0)
    torch.testing.assert_close(as_it_is.act(seen[:2], goal[:2]), goal[:2])


def test_it_plays_in_a_world_and_keeps_to_the_box() -> None:
    agent = GoalConditionedCloning(TrueDynamics(WORLD), Difference())
    played = play(WORLD, agent, 8)
    assert agent.sees_states
    assert int(played.outside.sum()) == 0
    assert played.actions.abs().max() <= 1


def test_codes_and_actions_of_other_times_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(N, T \+ 1, features\)"):
        GoalConditionedCloning.fit(TrueDynamics(WORLD), torch.zeros(3, 4, 2), torch.zeros(3, 4, 2))


def test_a_world_without_a_goal_and_a_share_that_is_none_are_refused() -> None:
    with pytest.raises(ValueError, match="this world gives none"):
        GoalConditionedCloning(TrueDynamics(WORLD), Difference()).act(torch.zeros(1, 7), None)
    with pytest.raises(ValueError, match="slowest is a share"):
        GoalConditionedCloning(TrueDynamics(WORLD), Difference(), slowest=0.0)
