"""The room where obstacles wander is MiniGrid's, step by step and in distribution."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from ebm.worlds.dynamic_obstacles import HEADINGS, MOVERS, DynamicObstacles
from ebm.worlds.trajectories import simulate
from ebm.worlds.world import World

WORLD = DynamicObstacles()
FORWARD = 2


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def anything(world: World, states: Tensor, draws: torch.Generator) -> Tensor:
    """A choice at random."""
    choice = torch.randint(3, states.shape[:-1], generator=draws)
    return torch.nn.functional.one_hot(choice, 3).to(states)


def one_hot(action: int) -> Tensor:
    return torch.eye(3)[action]


def state_of(env: Any) -> Tensor:
    """What MiniGrid's room is in, in the features of a state."""
    movers = [coordinate for obstacle in env.obstacles for coordinate in obstacle.cur_pos]
    return torch.tensor([*env.agent_pos, env.agent_dir, env.step_count, 0, 0, *movers], dtype=torch.float32)


def put(env: Any, state: Tensor) -> None:
    """Let MiniGrid's room be in this state."""
    from minigrid.core.world_object import Ball

    env.reset(seed=0)
    for obstacle in env.obstacles:
        env.grid.set(*obstacle.cur_pos, None)
    places = state[MOVERS:].long().view(-1, 2).tolist()
    env.obstacles = [Ball() for _ in places]
    for obstacle, place in zip(env.obstacles, places, strict=True):
        env.put_obj(obstacle, *place)
    env.agent_pos, env.agent_dir = tuple(state[:2].long().tolist()), int(state[2])
    env.step_count = int(state[3])


def minigrid(world: DynamicObstacles = WORLD) -> Any:
    """MiniGrid's room without its pictures, which no test looks at."""
    envs = pytest.importorskip("minigrid.envs.dynamicobstacles")
    env = envs.DynamicObstaclesEnv(size=world.size, n_obstacles=world.obstacles)
    env.gen_obs = dict
    env.reset(seed=0)
    return env


def noise_that_leads(world: DynamicObstacles, state: Tensor, moved: list[tuple[int, int]]) -> Tensor:
    """Uniform numbers by which each obstacle goes where it went, by counting the free cells in plain Python."""
    agent, goal = tuple(state[:2].long().tolist()), (world.size - 2, world.size - 2)
    places = [tuple(place) for place in state[MOVERS:].long().view(-1, 2).tolist()]
    drawn = []
    for i, (x, y) in enumerate(places):
        around = [(x + right, y + down) for down in (-1, 0, 1) for right in (-1, 0, 1)]
        inside = [cell for cell in around if all(0 < number < world.size - 1 for number in cell)]
        free = [cell for cell in inside if cell not in (*places, agent, goal)]
        stays = (1 - len(free) / 9) ** 100
        drawn.append(0.0 if moved[i] == (x, y) else stays + (1 - stays) * (free.index(moved[i]) + 0.5) / len(free))
        places[i] = moved[i]
    return torch.tensor(drawn)


@pytest.mark.parametrize("world", [WORLD, DynamicObstacles(size=5, obstacles=3)], ids=["roomy", "crowded"])
def test_every_step_of_minigrid_is_a_step_of_ours(world):
    """States, rewards and ends, over many episodes of actions at random, obstacles led where MiniGrid's went."""
    env, choices = minigrid(world), np.random.default_rng(0)
    ends: Counter[float] = Counter()
    ours = DynamicObstacles(size=world.size, obstacles=world.obstacles, episode=env.max_steps)
    for episode in range(60):
        env.reset(seed=episode)
        if episode % 3 == 0:  # next to the goal, which is seldom reached by chance
            env.agent_pos, env.agent_dir = (world.size - 3, world.size - 2), 0
            if env.grid.get(*env.agent_pos) is not None:
                continue
        for _ in range(40):
            before, action = state_of(env), int(choices.integers(3))
            _, reward, terminated, _, _ = env.step(action)
            moved = [tuple(int(number) for number in o.cur_pos) for o in env.obstacles]
            after = ours.step(before, one_hot(action), noise_that_leads(ours, before, moved))
            expected = state_of(env)
            expected[4], expected[5] = reward > 0, reward < 0
            torch.testing.assert_close(after, expected, rtol=0, atol=0)
            assert bool(ours.ended(after)) == terminated
            assert float(ours.reward(after)) == pytest.approx(reward, abs=1e-6)  # single precision
            if terminated:
                ends[np.sign(reward)] += 1
                break
    assert ends[1] > 3
    assert ends[-1] > 10


def crowd() -> Tensor:
    """Four obstacles in a heap in a corner, so that where one may go hangs on who went before."""
    return torch.tensor([1.0, 1, 0, 0, 0, 0, 2, 1, 3, 1, 2, 2, 1, 2])


def test_obstacles_go_where_those_of_minigrid_go_as_often():
    """Chi-square of all four places at once, of each alone, and of pairs, from a heap whose order matters."""
    env, drawn = minigrid(), []
    for seed in range(2500):
        put(env, crowd())
        env.np_random = np.random.default_rng(seed)
        env.step(0)
        drawn.append(state_of(env)[MOVERS:].view(4, 2) @ torch.tensor([1.0, 8.0]))
    theirs = torch.stack(drawn).long()
    states = crowd().expand(20000, -1)
    moved = WORLD.step(states, one_hot(0), WORLD.noise(states, generator()))
    ours = (moved[:, MOVERS:].unflatten(-1, (4, 2)) @ torch.tensor([1.0, 8.0])).long()
    for parts in ([0], [1], [2], [3], [0, 1], [2, 3], [1, 3]):
        weights = torch.tensor([64**power for power in range(len(parts))])
        counts = [Counter((places[:, parts] * weights).sum(1).tolist()) for places in (theirs, ours)]
        cells = sorted(set(counts[0]) | set(counts[1]))
        table = np.array([[count[cell] for cell in cells] for count in counts])
        common = table.sum(0) > 30  # a chi-square needs a few in each cell
        assert common.mean() > 0.5
        assert stats.chi2_contingency(table[:, common]).pvalue > 0.001  # seeds are fixed: it holds or it does not


def test_a_seeded_start_is_spread_as_minigrids():
    """Obstacles stand on every free cell equally often, never on the agent or the goal."""
    states = WORLD.start(20000, generator())
    counts = WORLD.truth(states)["obstacles"].sum(0).view(8, 8)
    free = torch.zeros(8, 8, dtype=torch.bool)
    free[1:-1, 1:-1] = True
    free[1, 1] = free[6, 6] = False
    assert counts[~free].eq(0).all()
    assert counts.sum() == 4 * 20000
    assert stats.chisquare(counts[free].numpy()).pvalue > 0.001


def test_a_start_anywhere_is_on_a_free_cell_with_any_heading():
    world = DynamicObstacles(anywhere=True)
    states = world.start(5000, generator())
    agent = states[:, 0] + 8 * states[:, 1]
    assert len(agent.unique()) == 35  # all but the goal
    assert states[:, 2].unique().tolist() == [0, 1, 2, 3]
    occupied = world.truth(states)["obstacles"].gather(1, agent.long().unsqueeze(1))
    assert occupied.eq(0).all()


def test_obstacles_stay_apart_inside_and_off_the_agent_and_the_goal():
    world = DynamicObstacles(size=6, anywhere=True)
    states = simulate(world, anything, 500, 30, generator()).states
    seen = world.observe(states)
    obstacles, walls, goal, agent = seen[..., 0, :, :], seen[..., 1, :, :], seen[..., 2, :, :], seen[..., 3:, :, :]
    assert obstacles.sum((-1, -2)).eq(4).all()
    assert (obstacles * (walls + goal + agent.sum(-3))).eq(0).all()
    assert agent.sum((-1, -2, -3)).eq(1).all()


def test_what_moves_in_front_as_the_agent_goes_stops_it_without_harm():
    """Only what stood there before it went is a collision, as in MiniGrid."""
    state = torch.tensor([2.0, 2, 0, 0, 0, 0, 4, 2, 6, 1, 6, 2, 1, 6])
    states = state.expand(4000, -1)
    after = WORLD.step(states, one_hot(FORWARD), WORLD.noise(states, generator()))
    blocked = (after[:, 6] == 3) & (after[:, 7] == 2)
    assert 300 < int(blocked.sum()) < 700  # one of eight cells, of 4000
    assert not WORLD.violated(after).any()
    assert after[blocked, 0].eq(2).all()
    assert after[~blocked, 0].eq(3).all()


def test_what_stood_in_front_is_hit_even_if_it_moves_away():
    state = torch.tensor([2.0, 2, 0, 0, 0, 0, 3, 2, 6, 1, 6, 2, 1, 6])
    states = state.expand(100, -1)
    after = WORLD.step(states, one_hot(FORWARD), WORLD.noise(states, generator()))
    assert WORLD.violated(after).all()
    assert WORLD.ended(after).all()
    assert WORLD.reward(after).eq(-1).all()


def test_an_obstacle_with_nowhere_to_go_stays():
    world = DynamicObstacles(size=5, obstacles=3)
    state = torch.tensor([2.0, 1, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
    states = state.expand(50, -1)
    first = world.step(states, one_hot(0), world.noise(states, generator()))[:, 6:8]
    assert first.eq(1).all()


def test_observations_have_a_plane_for_each_kind_of_thing():
    state = torch.tensor([2.0, 5, 3, 0, 0, 0, 4, 2, 6, 1, 6, 2, 1, 6])
    seen = WORLD.observe(state)
    assert seen.shape == (7, 8, 8)
    assert seen[0].nonzero().tolist() == [[1, 6], [2, 4], [2, 6], [6, 1]]
    assert seen[1].sum() == 28
    assert seen[2].nonzero().tolist() == [[6, 6]]
    assert seen[3:].nonzero().tolist() == [[3, 5, 2]]
    assert HEADINGS[3] == (0, -1)


def test_a_goal_is_a_success_that_looks_so():
    states = WORLD.start(3, generator())
    wanted = WORLD.goal(states)
    assert WORLD.succeeded(wanted).all()
    assert WORLD.truth(wanted)["distance"].eq(0).all()
    assert WORLD.observe(wanted)[:, 3, 6, 6].eq(1).all()


def test_a_step_compiles_and_is_the_same():
    states = DynamicObstacles(anywhere=True).start(64, generator())
    actions, noise = anything(WORLD, states, generator(1)), WORLD.noise(states, generator(2))
    compiled = torch.compile(WORLD.step, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(states, actions, noise), WORLD.step(states, actions, noise), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"size": 4}, "size"), ({"obstacles": 6}, "obstacles"), ({"obstacles": -1}, "obstacles"), ({"episode": 0}, "ep")],
)
def test_rooms_that_cannot_be_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        DynamicObstacles(**settings)


def test_a_step_without_noise_is_refused():
    with pytest.raises(ValueError, match="noise"):
        WORLD.step(WORLD.start(1, generator()), one_hot(0))
