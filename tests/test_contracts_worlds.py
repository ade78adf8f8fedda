"""What every world keeps: found by being in the folder, tried as it is by default."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from conftest import every
from gymnasium.utils.env_checker import check_env
from torch import Tensor

from ebm.worlds import Uniform, World, simulate
from ebm.worlds.environment import Environment
from ebm.worlds.vector_environment import VectorEnvironment

worlds = pytest.mark.parametrize("kind", every("ebm.worlds", World))
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def generator(seed: int = 0, device: str = "cpu") -> torch.Generator:
    return torch.Generator(device).manual_seed(seed)


def underway(world: World, count: int = 6, seed: int = 0, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor | None]:
    """States after three random steps, what to do next, and what it leaves to chance."""
    drawn = generator(seed, device)
    states = simulate(world, Uniform(), count, 3, drawn).states[:, -1]
    return states, Uniform()(world, states, drawn), world.noise(states, drawn)


def part(tensor: Tensor | None, index: object) -> Tensor | None:
    return None if tensor is None else tensor[index]


@worlds
def test_a_world_is_final_and_its_settings_are_frozen(kind):
    assert kind.__final__
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind().episode = 1


@worlds
def test_an_episode_without_a_step_is_refused(kind):
    with pytest.raises(ValueError, match="0"):
        dataclasses.replace(kind(), episode=0)


@worlds
def test_a_step_is_a_function_of_its_arguments_and_leaves_them_as_they_are(kind):
    states, actions, noise = underway(kind())
    kept = states.clone(), actions.clone(), part(noise, ...) if noise is None else noise.clone()
    first, second = kind().step(states, actions, noise), kind().step(states, actions, noise)
    assert torch.equal(first, second)
    assert torch.equal(states, kept[0])
    assert torch.equal(actions, kept[1])
    assert noise is None or torch.equal(noise, kept[2])


@worlds
def test_leading_axes_broadcast(kind):
    world = kind()
    states, _, noise = underway(world, 4)
    actions = Uniform()(world, states[:3], generator(1))
    at_once = world.step(states[:, None], actions, part(noise, (slice(None), None)))
    for i in range(4):
        one = world.step(states[i].expand(3, -1), actions, None if noise is None else noise[i].expand(3, -1))
        torch.testing.assert_close(at_once[i], one, rtol=0, atol=1e-6)  # rounding of products in another order


@worlds
def test_copies_know_nothing_of_each_other(kind):
    world = kind()
    states, actions, noise = underway(world)
    together = world.step(states, actions, noise)
    seen = world.observe(together)
    for i in range(len(states)):
        alone = world.step(states[i], actions[i], part(noise, i))
        torch.testing.assert_close(together[i], alone, rtol=0, atol=1e-6)  # rounding of products in another order
        torch.testing.assert_close(seen[i], world.observe(together[i]), rtol=0, atol=1e-6)


@worlds
def test_single_and_double_precision_agree_and_each_is_kept(kind):
    world = kind()
    states, actions, noise = underway(world)
    double = None if noise is None else noise.double()
    single, exact = world.step(states, actions, noise), world.step(states.double(), actions.double(), double)
    assert states.dtype == single.dtype == world.observe(single).dtype == torch.float32
    assert exact.dtype == world.observe(exact).dtype == torch.float64
    torch.testing.assert_close(single.double(), exact, rtol=1e-5, atol=1e-5)  # a hundred roundings of single precision


@worlds
@pytest.mark.parametrize("device", DEVICES)
def test_states_live_where_the_generator_does(kind, device):
    world = kind()
    states, actions, noise = underway(world, device=device)
    after = world.step(states, actions, noise)
    tensors = [states, after, world.observe(after), world.ended(after), *world.truth(after).values()]
    assert {tensor.device.type for tensor in tensors} == {device}


@worlds
def test_what_lies_outside_of_the_actions_is_put_back(kind):
    world = kind()
    states, actions, noise = underway(world)
    inside, outside = ((3 * actions).clamp(-1, 1), 3 * actions) if not world.discrete else (actions, 5 * actions - 2)
    assert torch.equal(world.step(states, outside, noise), world.step(states, inside, noise))


@worlds
def test_what_has_ended_stays_as_it_is(kind):
    world, drawn = kind(), generator()
    states = simulate(world, Uniform(), 64, min(world.episode, 64), drawn).states[:, -1]
    ended = world.ended(states)
    after = world.step(states, Uniform()(world, states, drawn), world.noise(states, drawn))
    assert torch.equal(after[ended], states[ended])
    assert ended.any() or type(world).ended is World.ended


@worlds
def test_what_is_seen_lies_between_0_and_1_and_has_one_shape(kind):
    world = kind()
    states = simulate(world, Uniform(), 8, 5, generator()).states
    seen = world.observe(states)
    assert seen.ndim == 5
    assert seen.shape[:2] == states.shape[:2]
    assert seen.shape[2:] == world.observe(states[0, 0]).shape
    assert seen.min() >= 0
    assert seen.max() <= 1
    assert seen.std() > 0


@worlds
def test_what_is_told_of_states_has_one_row_for_each(kind):
    world = kind()
    states = simulate(world, Uniform(), 4, 2, generator()).states
    for flag in (world.succeeded(states), world.violated(states), world.ended(states)):
        assert flag.dtype == torch.bool
        assert flag.shape == states.shape[:-1]
    for truth in world.truth(states).values():
        assert truth.is_floating_point()
        assert truth.shape[:-1] == states.shape[:-1]


@worlds
def test_the_goal_is_where_it_succeeds_and_a_world_without_one_says_so(kind):
    world = kind()
    states = world.start(16, generator())
    if type(world).goal is World.goal:
        with pytest.raises(ValueError, match="nothing is wanted"):
            world.goal(states)
        return
    assert world.succeeded(world.goal(states)).all()
    assert not world.succeeded(states).all()


@worlds
def test_one_seed_gives_one_trajectory_and_another_gives_another(kind):
    runs = [simulate(kind(), Uniform(), 4, 3, generator(seed)) for seed in (0, 0, 1)]
    assert torch.equal(runs[0].states, runs[1].states)
    assert torch.equal(runs[0].actions, runs[1].actions)
    assert not torch.equal(runs[0].states, runs[2].states)


@worlds
def test_actions_and_states_of_another_width_are_refused(kind):
    world = kind()
    states, actions, noise = underway(world)
    if world.actions:
        with pytest.raises((ValueError, RuntimeError)):
            world.step(states, torch.cat([actions, actions], -1), noise)
    with pytest.raises((ValueError, RuntimeError)):
        world.step(torch.cat([states, states[:, :1]], -1), actions, noise)


@worlds
def test_an_action_that_is_no_number_harms_no_other_copy(kind):
    world = kind()
    states, actions, noise = underway(world)
    expected = world.step(states, actions, noise)
    after = world.step(states, torch.cat([actions[:-1], torch.full_like(actions[-1:], torch.nan)]), noise)
    assert torch.equal(after[:-1], expected[:-1])


@worlds
def test_a_compiled_step_is_the_same_step(kind):
    world = kind()
    states, actions, noise = underway(world)
    compiled = torch.compile(world.step, fullgraph=True, backend="aot_eager")
    # The compiler may take sums in another order.
    torch.testing.assert_close(compiled(states, actions, noise), world.step(states, actions, noise), rtol=0, atol=1e-6)


@worlds
def test_gymnasium_finds_no_fault_with_it(kind):
    check_env(Environment(kind(), render_mode="rgb_array"))


@worlds
def test_many_copies_begin_anew_by_themselves_in_the_step_after_the_last(kind):
    world = dataclasses.replace(kind(), episode=5)
    copies = VectorEnvironment(world, 5)
    copies.action_space.seed(0)
    first, _ = copies.reset(seed=0)
    steps = [copies.step(copies.action_space.sample()) for _ in range(7)]
    seen, _, _, _, info = steps[0]
    assert seen in copies.observation_space
    assert first in copies.observation_space
    assert {len(value) for value in (info["success"], info["violated"], *info["truth"].values())} == {5}
    over = [terminated | truncated for _, _, terminated, truncated, _ in steps]
    assert np.any(over[:5], 0).all()
    for i in range(6):
        _, reward, terminated, truncated, _ = steps[i + 1]
        assert not (reward != 0)[over[i]].any()
        assert not (terminated | truncated)[over[i]].any()
