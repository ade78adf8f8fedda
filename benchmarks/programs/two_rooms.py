"""Getting from one room to the other by planning through a learned model, with each planner and without one.

    python benchmarks/programs/two_rooms.py --seed=0
    python benchmarks/programs/two_rooms.py --agents=gd_4x10_h16,cem_64x4_h16 --episodes=16 --steps=300

A world model is trained on walks at random, read by a probe of position, and all agents plan in the same episodes: with
`--part=guardrails` beside a hazard. Called by `ebm study run benchmarks/studies/two_rooms.yaml`, for each seed. What is
printed, for each agent:

- `AGENT/ever`, `AGENT/end`: share of episodes in which the goal was reached at some time, and at the last;
- `AGENT/ms`, `AGENT/evaluations`: CPU milliseconds, and plans that a model was asked about, for each action;
- `AGENT/outside`: actions outside of the box; `AGENT/path`: length of the way over that of the shortest one, where the
  goal was reached; `AGENT/planned`, `AGENT/real`: energy of the first plans as imagined, and as it came when they were
  carried out to the end without looking;
- for those with a hazard, `AGENT/violated`: share of episodes in which it was touched, `AGENT/infeasible`: share of
  plans of which it was said that none keeps to the guardrail.

In `gd_4x10_h16` 4 restarts take 10 steps each, over a horizon of 16; in `cem_64x4_h16` it is 64 candidates, 4 times.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from two_rooms_agents import Kit, planners, references
from two_rooms_guardrails import guarded, margins
from two_rooms_pictures import pictures
from world_training import probe, r_squared, rows, small_encoder, train

from ebm.data import Simulated, TrajectoryPairs
from ebm.energies import Imagined, LearnedDynamics, OfTrajectory, WorldModel
from ebm.learner import Learner, Term
from ebm.losses import PushDown
from ebm.networks import ResidualTransition
from ebm.planning import Agent, GoalConditionedCloning, ModelPredictiveControl, Played, play
from ebm.regularizers import Covariance, InverseDynamics, TemporalSmoothness, Variance
from ebm.study.program import publish
from ebm.worlds import TwoRooms

FEATURES = 32
WORLD = TwoRooms()
WALKS = TwoRooms(anywhere=True)
STEPS = 600
EPISODES = 64
STARTS = 2000  # added to the seed, of the episodes that are played


def learner() -> Learner:
    """A world model, and what it is trained by: prediction, variance and covariance, slowness, inverse dynamics."""
    model = WorldModel(LearnedDynamics(small_encoder(2, FEATURES), ResidualTransition(FEATURES, WORLD.actions)))
    return Learner(
        model,
        losses={
            "predict": Term(10, PushDown()),
            "slowness": Term(2, OfTrajectory(TemporalSmoothness())),
            "inverse": Term(1, OfTrajectory(InverseDynamics(FEATURES, WORLD.actions))),
        },
        regularizers={"variance": Term(10, Variance()), "covariance": Term(0.5, Covariance())},
    )


class Learned(NamedTuple):
    """What came of training."""

    kit: Kit
    numbers: dict[str, float]


def learn(steps: int, seed: int, walks: int = 3000) -> Learned:
    """Train the model, the probe and the cloned policy on the same walks."""
    torch.manual_seed(seed)
    taught = learner()
    data = TrajectoryPairs(Simulated(WALKS, train=walks, held_out=500, steps=12, seed=seed), steps=8)
    seconds = train(taught, data, steps)
    dynamics = taught.F.energy.dynamics.eval().requires_grad_(False)
    (states, actions), (fresh, _) = rows(data, "train"), rows(data, "held_out")
    codes, held_out = seen(dynamics, states), seen(dynamics, fresh)
    where = probe(codes.flatten(0, 1), states[..., :2].flatten(0, 1))
    cloned = GoalConditionedCloning.fit(dynamics, codes, actions)
    read = r_squared(where(held_out.flatten(0, 1)), fresh[..., :2].flatten(0, 1))
    return Learned(Kit(WORLD, dynamics, where, cloned), {"model/seconds": seconds, "model/probe": read})


@torch.no_grad()
def seen(dynamics: LearnedDynamics, states: Tensor) -> Tensor:
    """Codes `(count, times, features)` of states, a part of them at a time."""
    return torch.cat([dynamics.read(WORLD.observe(part)) for part in states.split(64)])


def measured(agent: Agent, played: Played, world: TwoRooms) -> dict[str, float]:
    """The numbers of an agent."""
    found = {
        "ever": float(played.reached.double().mean()),
        "end": float(played.at_goal.double().mean()),
        "ms": 1000 * played.seconds,
        "evaluations": played.evaluations,
        "outside": float(played.outside.sum()),
        "path": path(world, played),
    }
    if world.hazard is not None:
        found["violated"] = float(played.violated.double().mean())
        said = getattr(agent, "infeasible", None)
        found["infeasible"] = 0.0 if said is None else float(said.double().mean()) / world.episode
    if isinstance(agent, ModelPredictiveControl) and not agent.sees_states:
        found["planned"], found["real"] = carried_out(world, agent, played.states[:, 0])
    return found


def path(world: TwoRooms, played: Played) -> float:
    """Mean length of the way to the goal over the shortest, where it was reached."""
    steps = played.states[..., :2].diff(dim=1).norm(dim=-1)
    until = torch.arange(steps.shape[1]) < played.steps[:, None]
    ratio = (steps * until).sum(1) / (world.distance(played.states[:, 0]) - world.reached).clamp_min(world.limit)
    return float(ratio[played.reached].mean())


@torch.no_grad()
def carried_out(world: TwoRooms, agent: ModelPredictiveControl, states: Tensor) -> tuple[float, float]:
    """Mean energy of first plans as they were imagined, and of the codes of what came of them."""
    plan = agent.plan.configured(guardrails=())
    hx, hy = plan.encode(world.observe(states), world.observe(world.goal(states)))
    z = agent.infer(agent.plan, hx, hy, plan.latent(hx, hy)).z
    later = []
    for t in range(plan.horizon):
        states = world.step(states, z[:, t])
        later.append(plan.dynamics.read(world.observe(states)))
    real = plan.costs(Imagined(hx, torch.stack(later, 1), z), hy)
    return float(plan.cost(hx, hy, z).mean()), float(real.mean())


def run(options: argparse.Namespace) -> dict[str, float]:
    """One seed: train, and let every agent that is asked for play."""
    kit, numbers = learn(options.steps, options.seed, options.walks)
    chosen, checked = margins(kit, options.seed)
    numbers |= checked
    if options.pictures:
        pictures(kit, chosen, STARTS + options.seed, options.pictures)
    for world, agents in PARTS[options.part](kit, chosen):
        for name in wanted(agents, options.agents):
            agent = agents[name]()
            played = play(world, agent, options.episodes, STARTS + options.seed)
            found = measured(agent, played, world)
            print(name, {key: round(value, 3) for key, value in found.items()}, flush=True)
            numbers |= {f"{name}/{key}": value for key, value in found.items()}
    return numbers


def without_hazard(kit: Kit, margins: dict[float, float]) -> list[tuple[TwoRooms, dict[str, Callable[[], Agent]]]]:
    """All that plays where nothing is dangerous."""
    return [(WORLD, references(kit) | planners(kit))]


PARTS = {"planners": without_hazard, "guardrails": guarded}


def wanted(agents: Iterable[str], asked: str) -> list[str]:
    """Of these names those that are asked for, all by default."""
    names = asked.split(",")
    return [name for name in agents if asked == "all" or name in names]


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="of training (%(default)s)")
    parser.add_argument("--walks", type=int, default=3000, help="at random, that it is shown (%(default)s)")
    parser.add_argument("--episodes", type=int, default=EPISODES, help="that each agent plays (%(default)s)")
    parser.add_argument("--agents", default="all", help="names of agents with commas between them (%(default)s)")
    parser.add_argument("--part", choices=list(PARTS), default="planners", help="who plays (%(default)s)")
    parser.add_argument("--pictures", type=Path, help="an .npz file for what the page draws")
    parser.add_argument("--seed", type=int, default=0, help="of data, networks and episodes")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
