import pytest
import torch
from line_world import Line

from ebm.planning import Agent, Following, play
from ebm.planning.episodes import wilson
from ebm.worlds.policies import Uniform


class Constant(Agent):
    def __init__(self, *actions):
        self.actions = torch.tensor(actions)[:, None]

    def act(self, seen, goal):
        self.evaluations += 3
        self.shapes = seen.shape, goal.shape
        return self.actions


def test_each_episode_goes_its_own_way():
    played = play(Line(), Constant(1.0, 0.5, -1.0), 3)
    assert played.reached.tolist() == [True, False, False]
    assert played.at_goal.tolist() == [True, False, False]
    assert played.violated.tolist() == [False, False, True]
    assert played.steps.tolist() == [10, 12, 6]
    assert played.evaluations == 3


def test_an_episode_that_has_ended_stays_where_it_is():
    played = play(Line(), Constant(-1.0), 1)
    torch.testing.assert_close(played.states[0, 6:, 0], torch.full((7,), -0.6))


def test_actions_outside_of_the_box_are_counted_and_gain_nothing():
    played = play(Line(), Constant(1.5, 1.0), 2)
    assert played.outside.tolist() == [12, 0]
    assert torch.equal(played.states[0], played.states[1])


def test_an_agent_sees_pictures_unless_it_says_that_it_sees_states():
    agent = Constant(0.0)
    play(Line(), agent, 1)
    assert agent.shapes == ((1, 1, 1, 1), (1, 1, 1, 1))
    agent.sees_states = True
    play(Line(), agent, 1)
    assert agent.shapes == ((1, 1), (1, 1))


def test_a_seed_plays_the_same_episodes_again():
    world = Line()
    first, again, other = (play(world, Following(world, Uniform(), seed), 5) for seed in (0, 0, 1))
    assert torch.equal(first.states, again.states)
    assert not torch.equal(first.states, other.states)


@pytest.mark.parametrize("actions", [(float("nan"),), (0.0, 0.0)])
def test_actions_that_are_no_numbers_or_too_many_are_refused(actions):
    with pytest.raises(ValueError, match=r"finite actions \(1, 1\)"):
        play(Line(), Constant(*actions), 1)


def test_wilsons_interval_is_that_of_its_formula():
    share, low, high = wilson(torch.tensor([True] * 45 + [False] * 5))
    z, n, p = 1.959963984540054, 50, 0.9
    centre, half = (p + z * z / (2 * n)), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    assert share == 0.9
    assert low == pytest.approx((centre - half) / (1 + z * z / n), rel=1e-9)
    assert high == pytest.approx((centre + half) / (1 + z * z / n), rel=1e-9)
