"""Planning among obstacles that wander: a latent and its risk against a model that predicts the average.

    python benchmarks/programs/uncertainty.py --seed=0

A room of MiniGrid-Dynamic-Obstacles-8x8. What is in front of the agent when it goes forward decides whether it
collides, so that whoever looks before each step needs no model of the obstacles. Here the agent looks before every
third step: the two steps between are planned blind. Plans are the best of all sequences of four actions that differ
in where they lead. Called by `ebm study run benchmarks/studies/uncertainty.yaml`, once for each seed.

Prints `agent/reached`, `agent/collided`, `agent/steps` and `agent/milliseconds` (of CPU for each action) for each
agent, as shares of `agent/episodes`; of each model `model/gap` (AUROC of its free energy, what happened next against
the same with one obstacle where it cannot be), `model/likelihood_1` to `_3` (nats of where the obstacles are after so
many steps, cell by cell), `model/error` (root mean square of the chance of a collision, against that of many simulated
futures, among plans for which it is not settled), `model/brier` and `model/expected`, `model/happened` (chances).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from uncertainty_models import Settings, Trip, TrueTrip, train_encoder, train_heads, train_model
from uncertainty_readings import DRAWS, Imaginer, readings

from ebm.energies import Cost, CVaR, Dynamics, Mean, Plan, WorldModel
from ebm.planning import Agent, Following, ModelPredictiveControl, TrueDynamics
from ebm.solvers import Enumeration
from ebm.study.program import publish
from ebm.worlds import DynamicObstacles
from ebm.worlds.policies import Uniform

LEFT, RIGHT, FORWARD = range(3)
LIMIT = 90  # steps of an episode
WEIGHTS = [20.0, 5.0, 80.0]


class Player(NamedTuple):
    """An agent, and how many steps it goes without looking."""

    agent: Agent
    every: int


def sequences(horizon: int) -> Tensor:
    """Plans `(K, horizon, 3)` that lead to different places: all but those with a turn that another undoes or equals.

    Left after left is right after right, and left after right is right after left.
    """
    redundant = {(LEFT, LEFT), (RIGHT, LEFT)}
    every = itertools.product(range(3), repeat=horizon)
    kept = [plan for plan in every if not redundant & set(itertools.pairwise(plan))]
    return one_hot(torch.tensor(kept), 3).float()


def controller(
    dynamics: Dynamics, cost: Cost, draws: int, risk: Mean | CVaR, every: int, horizon: int = 4
) -> ModelPredictiveControl:
    """The best of all sequences, a few at a time so that they stay in the cache."""
    plan = Plan(dynamics, cost, horizon, 3, draws=draws, risk=risk)
    return ModelPredictiveControl(plan, Enumeration(sequences(horizon), chunk=2), every=every, within=None, warm=False)


@torch.no_grad()
def play(world: DynamicObstacles, player: Player, episodes: int, limit: int, seed: int) -> dict[str, float]:
    """Episodes side by side. Those that are over are left out, from one look to the next."""
    generator = torch.Generator().manual_seed(1000 + seed)
    states, spent, acted = world.start(episodes, generator), 0.0, 0
    player.agent.begin()
    for _ in range(0, limit, player.every):
        going = (~world.ended(states)).nonzero().squeeze(1)
        if len(going) == 0:
            break
        some = states[going]
        for _ in range(player.every):
            began = time.process_time()
            shown = some if player.agent.sees_states else world.observe(some)
            actions = player.agent.act(shown, None)
            spent, acted = spent + time.process_time() - began, acted + len(some)
            some = world.step(some, actions, world.noise(some, generator))
        states = states.index_copy(0, going, some)
    reached = world.succeeded(states)
    return {
        "reached": float(reached.float().mean()),
        "collided": float(world.violated(states).float().mean()),
        "steps": float(states[reached, 3].mean()) if reached.any() else float("nan"),
        "milliseconds": 1000 * spent / acted,
        "episodes": float(episodes),
    }


def players(
    imaginers: dict[str, Imaginer], world: DynamicObstacles, weights: list[float], every: int, seed: int
) -> Iterator[tuple[str, Player]]:
    """Every agent by its name: the model, its risk, what a collision is worth, and how often it looks.

    Models that draw nothing are quick, and play for each of the weights, those that draw for the first alone.
    """
    yield "random", Player(Following(world, Uniform(), seed), every)
    first, mean, cvar = weights[0], Mean(), CVaR(0.2)
    truth = TrueDynamics(world)
    for name, (dynamics, heads, draws) in imaginers.items():
        risks = {"mean": mean, "cvar": cvar} if draws else {"mean": mean}
        if name == "unlimited":
            del risks["mean"]
        for (risk, measure), weight in itertools.product(risks.items(), [first] if draws else weights):
            agent = controller(dynamics, Trip(heads, weight), draws, measure, every)
            yield f"{name}_{risk}_{weight:g}_{every}", Player(agent, every)
    for risk, measure in (("mean", mean), ("cvar", cvar)):
        agent = controller(truth, TrueTrip(world, first), DRAWS, measure, every)
        yield f"oracle_{risk}_{first:g}_{every}", Player(agent, every)
    dynamics, heads, _ = imaginers["deterministic"]
    looking = controller(dynamics, Trip(heads, first), 0, mean, 1)
    yield f"deterministic_mean_{first:g}_1", Player(looking, 1)
    yield f"oracle_mean_{first:g}_1", Player(controller(truth, TrueTrip(world, first), DRAWS, mean, 1), 1)


def trained(settings: Settings, seed: int) -> dict[str, tuple[WorldModel | None, Imaginer]]:
    """Models over one encoder, and what plans with them."""
    reads, heads = train_encoder(settings, seed)
    plain = train_model(settings, "deterministic", reads, seed)
    made = {"deterministic": plain}
    made |= {kind: train_model(settings, kind, reads, seed, plain) for kind in ("latent", "unlimited")}
    found: dict[str, tuple[WorldModel | None, Imaginer]] = {
        kind: (model, Imaginer(model.dynamics, heads, 0 if kind == "deterministic" else DRAWS))
        for kind, model in made.items()
    }
    fitted = train_heads(settings, plain.dynamics, heads, seed)
    return found | {"fitted": (None, Imaginer(plain.dynamics, fitted, 0))}


def run(options: argparse.Namespace) -> dict[str, float]:
    """Train, read, play."""
    torch.manual_seed(options.seed)
    settings = Settings(steps=options.steps, first_steps=options.first_steps)
    began = time.process_time()
    models = trained(settings, options.seed)
    found = {"cpu/training": time.process_time() - began, **readings(models, settings, options.seed)}
    if options.save:
        torch.save({"models": {name: imaginer for name, (_, imaginer) in models.items()}}, options.save)
    world = DynamicObstacles(settings.size, settings.obstacles)
    imaginers = {name: imaginer for name, (_, imaginer) in models.items()}
    for name, player in players(imaginers, world, options.weights, options.every, options.seed):
        played = play(world, player, options.episodes, options.limit, options.seed)
        found |= {f"{name}/{key}": value for key, value in played.items()}
    return found | {"cpu/all": time.process_time() - began}


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500, help="of training each model (%(default)s)")
    parser.add_argument("--first_steps", type=int, default=400, help="of training encoder and costs (%(default)s)")
    parser.add_argument("--episodes", type=int, default=30, help="of each agent (%(default)s)")
    parser.add_argument("--limit", type=int, default=LIMIT, help="steps of an episode (%(default)s)")
    parser.add_argument("--every", type=int, default=3, help="steps from one look to the next (%(default)s)")
    parser.add_argument(
        "--weights", type=float, nargs="+", default=[20.0, 5.0, 80.0], help="steps that a collision is worth"
    )
    parser.add_argument("--save", type=Path, help="a file for the models, to film them with")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
