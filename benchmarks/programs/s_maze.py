"""Going away from a goal to get there: plans of single steps, and of a hierarchy of levels that are slower and slower.

    python benchmarks/programs/s_maze.py --seed=0
    python benchmarks/programs/s_maze.py --agents=flat_gd_4x10_h15,hierarchy_two --episodes=16 --steps=300

A world model of single steps is trained on walks at random, levels above it are trained on its codes, and all agents
play the same episodes. Called by `ebm study run benchmarks/studies/s_maze.yaml`, once for each seed. It prints:

- `AGENT/ever`, `AGENT/end`: share of episodes in which the goal was reached at some time, and at the last;
- `AGENT/ms`, `AGENT/evaluations`: CPU milliseconds, and plans that a model was asked about, for each action;
- `room_AGENT/...`: the same where agent and goal are in one room, so that going straight on is enough;
- `model/...`: R2 of a probe of position, root mean square error after so many steps of a rollout, seconds of training;
- `LADDER/metric_K`: how well squared distances of codes of level K order places by the way between them (Spearman).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from s_maze_agents import Agents, Kit, flat, hierarchies, lent, references
from s_maze_models import LADDERS, WALKS, WORLD, ladder, lowest, metric, probed
from s_maze_pictures import pictures
from torch import Tensor

from ebm.planning import play
from ebm.study.program import publish

STEPS = 2500
EPISODES = 48
STARTS = 1000  # added to the seed, of the episodes that are played
IN_A_ROOM = ("random", "greedy", "flat_gd_4x10_h6", "flat_gd_4x10_h15", "hierarchy_two", "hierarchy_two_cheap")


def in_a_room(count: int, seed: int) -> Tensor:
    """States in which agent and goal are in one of the three rooms, at least twice as far apart as counts as there."""
    drawn = WALKS.start(40 * count, torch.Generator().manual_seed(seed))
    room = torch.bucketize(drawn[:, [0, 2]].contiguous(), torch.tensor([1 / 3, 2 / 3]))
    apart = (drawn[:, :2] - drawn[:, 2:4]).norm(dim=-1)
    return drawn[(room[:, 0] == room[:, 1]) & (apart > 2 * WORLD.reached)][:count]


def needed(names: list[str]) -> list[str]:
    """The ladders of levels that these agents stand on."""
    lent = any(agent.startswith("lent") for agent in names)
    return [
        name for name in LADDERS if any(f"hierarchy_{name}" in agent for agent in names) or (lent and name == "two")
    ]


def run(options: argparse.Namespace) -> dict[str, float]:
    """One seed: train, and let every agent that is asked for play."""
    begun = time.process_time()
    model, seen, fresh = lowest(options.steps, options.seed)
    where, numbers = probed(model, seen, fresh)
    numbers["model/seconds"] = time.process_time() - begun
    asked = None if options.agents == "all" else options.agents.split(",")
    ladders = {}
    for name in LADDERS if asked is None else needed([*asked, *(["hierarchy_two"] if options.pictures else [])]):
        begun = time.process_time()
        ladders[name] = ladder(model, seen, name, options.steps // 2)
        numbers[f"{name}/seconds"] = time.process_time() - begun
        numbers |= {f"{name}/metric_{k}": value for k, value in enumerate(metric(ladders[name]))}
    print({key: round(value, 3) for key, value in numbers.items()}, flush=True)
    kit = Kit(model, ladders)
    if options.pictures:
        pictures(kit, where, seen, STARTS + options.seed, options.pictures)
    agents = references(kit) | flat(kit) | (lent(kit) if "two" in ladders else {}) | hierarchies(kit)
    agents = {name: agent for name, agent in agents.items() if asked is None or name in asked}
    return numbers | played(agents, options.episodes, STARTS + options.seed)


def played(agents: Agents, episodes: int, seed: int) -> dict[str, float]:
    """What became of each agent's episodes, and of those in a room."""
    near, found = in_a_room(episodes, seed), {}
    for name, agent in agents.items():
        for prefix, start in (("", None), ("room_", near)):
            if prefix and name not in IN_A_ROOM:
                continue
            result = play(WORLD, agent(), episodes, seed, start)
            numbers = {
                "ever": float(result.reached.double().mean()),
                "end": float(result.at_goal.double().mean()),
                "ms": 1000 * result.seconds,
                "evaluations": result.evaluations,
            }
            print(prefix + name, {key: round(value, 3) for key, value in numbers.items()}, flush=True)
            found |= {f"{prefix}{name}/{key}": value for key, value in numbers.items()}
    return found


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--steps",
        type=int,
        default=STEPS,
        help="of training the lowest level; half of it for those above (%(default)s)",
    )
    parser.add_argument("--episodes", type=int, default=EPISODES, help="that each agent plays (%(default)s)")
    parser.add_argument("--agents", default="all", help="names of agents with commas between them (%(default)s)")
    parser.add_argument("--pictures", type=Path, help="an .npz file for what the page draws")
    parser.add_argument("--seed", type=int, default=0, help="of data, networks and episodes")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
