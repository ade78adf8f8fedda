"""Policies: what is uniform is, a heading drifts as it is said, and a script is followed."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from ebm.worlds import DynamicObstacles, Pond, Scripted, TwoRooms, Uniform, Wander, simulate

WORLD = TwoRooms()


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def headings(policy: Wander, copies: int, steps: int) -> torch.Tensor:
    """The angles of actions, `(copies, steps)`."""
    drawn = generator()
    states = WORLD.start(copies, drawn).double()
    actions = torch.stack([policy(WORLD, states, drawn) for _ in range(steps)], 1)
    return torch.atan2(actions[..., 1], actions[..., 0])


def test_uniform_actions_fill_the_box_evenly():
    actions = Uniform()(WORLD, WORLD.start(20000, generator()), generator(1))
    assert actions.abs().max() <= 1
    assert actions.mean(0).abs().max() < 0.02  # three deviations: 3 / sqrt(3 * 20000)
    torch.testing.assert_close(actions.var(0), torch.full((2,), 1 / 3), rtol=0.03, atol=0)


def test_uniform_choices_are_one_hot_and_equally_likely():
    world = DynamicObstacles()
    actions = Uniform()(world, world.start(3000, generator()), generator(1))
    assert torch.equal(actions.sum(-1), torch.ones(3000))
    assert (actions.mean(0) - 1 / 3).abs().max() < 0.03  # three deviations: 3 sqrt(2 / 9 / 3000)


def test_where_nothing_can_be_done_uniform_does_nothing():
    world = Pond()
    assert Uniform()(world, world.start(3, generator()), generator()).shape == (3, 0)


def test_a_heading_turns_by_angles_of_the_deviation_that_is_given():
    angles = headings(Wander(turn=0.3), 2000, 6)
    turned = torch.remainder(angles.diff(dim=1) + math.pi, 2 * math.pi) - math.pi
    assert turned.std().item() == pytest.approx(0.3, rel=0.03)  # 10000 angles: one in a hundred, three times
    assert abs(turned.mean().item()) < 0.01
    assert abs(torch.corrcoef(turned.T)[0, 1].item()) < 0.07  # independent of each other


def test_a_heading_that_does_not_turn_stays():
    angles = headings(Wander(turn=0.0), 50, 5)
    torch.testing.assert_close(angles, angles[:, :1].expand(-1, 5))


def test_first_headings_point_everywhere():
    first = headings(Wander(), 4000, 1)
    assert torch.stack([first.cos().mean(), first.sin().mean()]).abs().max() < 0.035  # three deviations of a mean


def test_speeds_are_uniform_between_the_slowest_and_the_edge_of_the_box():
    policy, drawn = Wander(slowest=0.5), generator()
    speeds = policy(WORLD, WORLD.start(20000, drawn), drawn).abs().amax(-1)
    assert speeds.min() >= 0.5
    assert speeds.max() <= 1
    assert speeds.mean().item() == pytest.approx(0.75, abs=0.005)


def test_a_copy_that_has_not_yet_acted_wanders_in_the_same_way():
    policy = Wander()
    runs = [simulate(WORLD, copy.copy(policy), 8, 5, generator()).actions for _ in range(2)]
    assert torch.equal(*runs)


def test_other_leading_axes_begin_anew():
    policy = Wander()
    for shape in [(3,), (5,), (2, 4)]:
        states = WORLD.start(math.prod(shape), generator()).unflatten(0, shape)
        assert policy(WORLD, states, generator()).shape == (*shape, 2)


def test_there_is_no_heading_among_choices_nor_where_nothing_can_be_done():
    for world, told in ((DynamicObstacles(), "choices: take Uniform"), (Pond(), "are 0: take Uniform")):
        with pytest.raises(ValueError, match=told):
            Wander()(world, world.start(2, generator()), generator())


@pytest.mark.parametrize(("turn", "slowest"), [(-1.0, 0.3), (float("nan"), 0.3), (0.5, 1.5), (0.5, -0.1)])
def test_a_wander_of_no_meaning_is_refused(turn, slowest):
    with pytest.raises(ValueError, match=r"turn is|slowest is"):
        Wander(turn, slowest)


@pytest.mark.parametrize("shape", [(4, 2), (3, 4, 2)])
def test_a_script_is_followed_by_all_copies_or_by_each_its_own(shape):
    script = torch.rand(shape, generator=generator())
    actions = simulate(WORLD, Scripted(script), 3, 4, generator()).actions
    assert torch.equal(actions, script.expand(3, 4, 2))


def test_after_the_last_line_of_a_script_it_says_so():
    with pytest.raises(ValueError, match="the script has 2 steps, and one more"):
        simulate(WORLD, Scripted(torch.zeros(2, 2)), 3, 3, generator())


def test_a_script_for_another_world_is_refused():
    with pytest.raises(ValueError, match="have 3 features, those of TwoRooms have 2"):
        simulate(WORLD, Scripted(torch.zeros(2, 3)), 3, 1, generator())
    with pytest.raises(ValueError, match=r"\(\*batch, steps, actions\), got \(2,\)"):
        Scripted(torch.zeros(2))
