"""One world model of two rooms, turned to several tasks at run time by other costs, guardrails and horizons.

    python benchmarks/programs/configurator.py --seed=0

The model is that of programs/two_rooms.py, trained once on walks at random; `Plan.configured` makes each task of it.
Called by `ebm study run benchmarks/studies/configurator.yaml`, once for each seed. Printed for each task: `end`, share
of episodes at the goal at the last step; `distance` from the goal then, in sides of the square, and `apart`, the mean
over all steps; `effort`, the mean `|action|^2`; `violated`, share of episodes in which the region was touched.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from two_rooms import learn
from two_rooms_agents import Kit
from two_rooms_guardrails import HAZARD, excess

from ebm.energies import Effort, GoalDistance, Guardrail
from ebm.minimize import Restarts
from ebm.planning import Agent, Following, ModelPredictiveControl, play
from ebm.solvers import Adam
from ebm.study.program import publish
from ebm.worlds import TwoRooms, Uniform

WORLD = TwoRooms(hazard=HAZARD)  # a rule that changes nothing that happens
SOLVER, RESTARTS = Adam(rate=0.5, steps=8, tolerance=0), Restarts(3, 0.7)
MARGIN = 0.03


def tasks(kit: Kit) -> dict[str, Mapping[str, Any]]:
    """What is changed of a plan that reaches the goal."""
    region = Guardrail(excess(kit, HAZARD), MARGIN)
    return {
        "reach": {},
        "little_effort": {"costs": GoalDistance() + 0.3 * Effort()},
        "keep_away": {"costs": -1.0 * GoalDistance()},
        "avoid_region": {"costs": GoalDistance() + 100.0 * region},
        "look_4_ahead": {"horizon": 4},
    }


def run(options: argparse.Namespace) -> dict[str, float]:
    """One run: a model, then every task in the same episodes."""
    learned = learn(options.steps, options.seed)
    kit = learned.kit
    plan = kit.plan(horizon=12)
    agents: dict[str, Agent] = {"random": Following(WORLD, Uniform(), options.seed)}
    for name, changes in tasks(kit).items():
        agents[name] = ModelPredictiveControl(plan.configured(**changes), SOLVER, restarts=RESTARTS)
    found = {**learned.numbers, "episodes/count": float(options.episodes)}
    world = replace(WORLD, episode=options.moments)
    for name, agent in agents.items():
        played = play(world, agent, options.episodes, seed=10**5 + options.seed)
        away = torch.linalg.vector_norm(played.states[..., :2] - played.states[..., 2:4], dim=-1)
        found |= {
            f"{name}/end": float(played.at_goal.double().mean()),
            f"{name}/distance": float(away[:, -1].mean()),
            f"{name}/apart": float(away[:, 1:].mean()),
            f"{name}/effort": float(played.actions.square().sum(-1).mean()),
            f"{name}/violated": float(played.violated.double().mean()),
            f"{name}/ms": 1000 * played.seconds,
        }
    return found


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="of training (%(default)s)")
    parser.add_argument("--episodes", type=int, default=32, help="of each task (%(default)s)")
    parser.add_argument("--moments", type=int, default=WORLD.episode, help="steps of an episode (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the walks, the model and the episodes")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
