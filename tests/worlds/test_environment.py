"""Worlds as Gymnasium environments: rewards, ends, seeds, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch

from ebm.worlds import DynamicObstacles, Pond, TwoRooms
from ebm.worlds.environment import Environment, painted
from ebm.worlds.vector_environment import VectorEnvironment


class Beside(gymnasium.Wrapper):
    """Puts the agent so far to the left of its goal."""

    def reset(self, **kwargs):
        seen, info = self.env.reset(**kwargs)
        inner = self.env
        inner._states[0, :2] = inner._states[0, 2:4] - torch.tensor([0.1, 0.0])
        return seen, info


def test_a_step_into_the_goal_is_worth_1_and_the_last():
    environment = Beside(Environment(TwoRooms()))
    environment.reset(seed=0)
    _, reward, terminated, truncated, info = environment.step(np.array([0.2, 0.0], np.float32))
    assert (reward, terminated, truncated, info["success"]) == (0.0, False, False, False)
    _, reward, terminated, truncated, info = environment.step(np.array([0.5, 0.0], np.float32))
    assert (reward, terminated, truncated, info["success"]) == (1.0, True, False, True)


def test_a_hazard_is_taken_off_once():
    world = TwoRooms(hazard=(0.5, 0.5, 0.7), anywhere=True)  # nearly everywhere
    environment = Environment(world)
    environment.reset(seed=0)
    environment._states[0, :2] = torch.tensor([0.03, 0.03])
    environment._states[0, 2:5] = torch.tensor([0.9, 0.9, 0.0])
    rewards = [environment.step(np.ones(2, np.float32))[1] for _ in range(3)]
    assert rewards == [-1.0, 0.0, 0.0]


def test_an_episode_is_cut_after_its_steps():
    environment = Environment(Pond(episode=3))
    environment.reset(seed=0)
    cut = [environment.step(np.zeros(0, np.float32))[3] for _ in range(3)]
    assert cut == [False, False, True]


def test_the_goal_is_seen_after_the_state_where_there_is_one():
    world = TwoRooms()
    environment = Environment(world)
    seen, _ = environment.reset(seed=3)
    here = environment._states
    expected = torch.cat([world.observe(here), world.observe(world.goal(here))], 1)[0]
    assert np.abs(seen / 255 - expected.numpy()).max() <= 0.5 / 255 + 1e-6  # rounded to bytes
    assert Environment(Pond()).observation_space.shape == (2, 12, 20)


def test_one_of_many_copies_is_the_environment_itself():
    one, many = Environment(TwoRooms()), VectorEnvironment(TwoRooms(), 1)
    (seen, _), (all_seen, _) = one.reset(seed=5), many.reset(seed=5)
    assert np.array_equal(all_seen[0], seen)
    one.action_space.seed(0)
    for _ in range(10):
        action = one.action_space.sample()
        single, several = one.step(action), many.step(action[None])
        assert np.array_equal(several[0][0], single[0])
        assert [each[0] for each in several[1:4]] == list(single[1:4])
        assert np.array_equal(several[4]["truth"]["position"][0], single[4]["truth"]["position"])


def test_what_was_earned_is_not_earned_again_where_a_copy_begins_anew():
    copies = VectorEnvironment(TwoRooms(), 2)
    copies.reset(seed=0)
    copies._states = torch.stack([copies.world.goal(copies._states[0]), copies._states[1]])
    still = np.zeros((2, 2), np.float32)
    _, reward, terminated, _, _ = copies.step(still)
    assert (reward.tolist(), terminated.tolist()) == ([1.0, 0.0], [True, False])
    _, reward, terminated, _, info = copies.step(still)
    assert (reward.tolist(), terminated.tolist(), info["success"].tolist()) == ([0.0, 0.0], [False] * 2, [False] * 2)


def test_a_copy_that_begins_anew_does_not_disturb_the_others():
    world = DynamicObstacles(size=5, obstacles=2)
    copies = VectorEnvironment(world, 64)
    copies.reset(seed=0)
    forward = np.full(64, 2)
    over, ends = np.zeros(64, bool), 0
    for _ in range(6):
        before = copies._states.clone()
        _, reward, terminated, truncated, info = copies.step(forward)
        fresh = torch.from_numpy(over)
        assert (copies._states[fresh, 3] == 0).all()  # no step is done in an episode that begins
        assert torch.equal(copies._states[~fresh, 3], before[~fresh, 3] + 1)
        assert (reward[over] == 0).all()
        assert np.array_equal(terminated, (info["success"] | info["violated"]) & ~over)
        over = terminated | truncated
        ends += over.sum()
    assert ends > 64


@pytest.mark.parametrize("made", [Environment, lambda world: VectorEnvironment(world, 2)])
def test_what_has_not_begun_cannot_go_on(made):
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"call reset\(\)"):
        made(TwoRooms()).step(np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("world", "action"),
    [
        (TwoRooms(), np.array([np.nan, 0.0])),
        (TwoRooms(), np.zeros(3)),
        (TwoRooms(), 1),
        (DynamicObstacles(), 3),
        (DynamicObstacles(), -1),
        (DynamicObstacles(), 0.5),
        (DynamicObstacles(), np.zeros(3, int)),
    ],
)
def test_what_is_no_action_is_refused(world, action):
    environment = Environment(world)
    environment.reset(seed=0)
    with pytest.raises(ValueError, match="actions are"):
        environment.step(action)


def test_what_lies_outside_of_the_box_is_put_back():
    steps = []
    for action in ([1.0, -1.0], [7.0, -3.0]):
        environment = Environment(TwoRooms())
        environment.reset(seed=0)
        steps.append(environment.step(np.array(action))[0])
    assert np.array_equal(*steps)


def test_all_copies_have_one_seed():
    with pytest.raises(ValueError, match="give one seed for all of them"):
        VectorEnvironment(TwoRooms(), 2).reset(seed=[1, 2])


@pytest.mark.parametrize("arguments", [{"count": 0}, {"count": 2, "render_mode": "human"}])
def test_copies_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match=r"count is|render_mode is"):
        VectorEnvironment(TwoRooms(), **arguments)
    with pytest.raises(ValueError, match="render_mode is"):
        Environment(TwoRooms(), render_mode="human")


def test_pictures_are_large_and_show_each_channel_in_its_own_colour():
    copies = VectorEnvironment(TwoRooms(), 3, render_mode="rgb_array")
    copies.reset(seed=0)
    pictures = copies.render()
    assert [picture.shape for picture in pictures] == [(256, 256, 3)] * 3
    one_each = painted(np.eye(4, dtype=np.uint8)[None, :, None] * 255)[0, 0, ::64]
    assert len({tuple(colour) for colour in one_each.tolist()}) == 4
    assert VectorEnvironment(TwoRooms(), 3).render() is None


def test_wandering_over_episodes_gives_gymnasium_other_worlds_each_time():
    environment = Environment(replace(TwoRooms(), random_wall=True))
    starts = [environment.reset(seed=1 if i == 0 else None)[1]["truth"]["walls"] for i in range(3)]
    again = environment.reset(seed=1)[1]["truth"]["walls"]
    assert len({tuple(start.tolist()) for start in starts}) == 3
    assert np.array_equal(again, starts[0])
