"""Errands with and without a memory: how often the place is found whose sign is called.

    python benchmarks/programs/memory.py --seed=0

A world model learns from wanderings how the picture of the dot changes; nothing in it sees signs. The memory stores
the code of what is seen where there is a sign, under that sign. A plan consults it by its energy (`Recalled`), given
the sign that is called. All agents have the same model, planner and episodes:

- `slots_N`: a memory that holds the last N of the four places.
- `read`: four slots; the goal is what the memory reads at the sign (`GoalDistance`), in the place of its energy.
- `blurred`: `read` with attention so wide that it takes the mean of what is stored.
- `no_keys`: four slots, whose keys are not compared.
- `random`: a wandering; `told`: shown a picture of the place that is called.

Called by `ebm study run benchmarks/studies/memory.yaml`, once for each seed.
"""

from __future__ import annotations

import argparse
import time
from typing import cast, final

import torch
from torch import Tensor, nn

from ebm.energies import GoalDistance, LearnedDynamics, Plan, Recalled
from ebm.energies.costs import Cost, Imagined
from ebm.energies.memory import unpacked
from ebm.learner import rate
from ebm.networks import MLP, ResidualTransition
from ebm.planning import Agent, Following, ModelPredictiveControl, Remembering, play
from ebm.regularizers import Covariance, Variance
from ebm.regularizers.trajectories import InverseDynamics
from ebm.solvers import Adam
from ebm.study.program import publish
from ebm.worlds import Errands, Wander, simulate

WORLD = Errands()
FEATURES, SLOTS, ROLLOUT = 16, 4, 4
PLANNER, STARTS, HORIZON = Adam(rate=0.5, steps=5), 1, 3


@final
class DotAlone(nn.Module):
    """An encoder of the first channel: signs are for the memory."""

    def __init__(self, size: int, features: int) -> None:
        super().__init__()
        self.network = MLP([size * size, 64, features])

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x[:, 0].flatten(1))


@final
class ReadGoal(Cost):
    """`GoalDistance` from what the memory reads at the query."""

    def __init__(self, sharpness: float) -> None:
        super().__init__()
        self.sharpness, self.distance = sharpness, GoalDistance()

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        query, memory = unpacked(cast(Tensor, goal), SLOTS, imagined.codes.shape[-1])
        return self.distance(imagined, memory.read(query, self.sharpness))


def wandered(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Pictures `(count, ROLLOUT + 1, ...)` and actions of dots that are free, and begin anywhere."""
    generator = torch.Generator().manual_seed(seed)
    states = WORLD.start(count, generator)
    states[:, :2] = torch.rand(count, 2, generator=generator)
    states[:, -1] = WORLD.places
    walks = simulate(WORLD, Wander(), count, ROLLOUT, generator, states)
    return WORLD.observe(walks.states), walks.actions


def train(seed: int, steps: int, batch: int = 64) -> LearnedDynamics:
    """The model: prediction over a rollout, variance, covariance and inverse dynamics."""
    torch.manual_seed(seed)
    dynamics = LearnedDynamics(DotAlone(WORLD.size, FEATURES), ResidualTransition(FEATURES, 2, 0, (64, 64)))
    inverse, variance, covariance = InverseDynamics(FEATURES, 2), Variance(), Covariance()
    parameters = [*dynamics.parameters(), *inverse.parameters()]
    optimizer = torch.optim.Adam(parameters, 2e-3)
    pictures, actions = wandered(4000, seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * rate(step, steps, 0.0, 0.02)
        chosen = torch.randint(len(pictures), (batch,))
        codes = dynamics.read(pictures[chosen])
        wrong = (dynamics.rollout(codes[:, 0], actions[chosen]) - codes[:, 1:]).square().mean()
        flat = codes.flatten(0, 1)
        spread = 10 * variance(flat) + 0.5 * covariance(flat)
        optimizer.zero_grad()
        (10 * wrong + spread + 2 * inverse(codes, actions[chosen])).backward()
        optimizer.step()
    return dynamics.requires_grad_(False).eval()


def agents(dynamics: LearnedDynamics) -> dict[str, Agent]:
    """All that are compared."""

    def planning(cost: Cost) -> ModelPredictiveControl:
        return ModelPredictiveControl(Plan(dynamics, cost, HORIZON), PLANNER, restarts=STARTS)

    def remembering(cost: Cost, slots: int) -> Agent:
        return Remembering(planning(cost), WORLD.signs, slots)

    return {
        "random": Following(WORLD, Wander()),
        "no_keys": remembering(Recalled(SLOTS, weight=1e-6), SLOTS),
        **{f"slots_{slots}": remembering(Recalled(slots), slots) for slots in range(1, SLOTS + 1)},
        "read": remembering(ReadGoal(50.0), SLOTS),
        "blurred": remembering(ReadGoal(1e-3), SLOTS),
        "told": planning(GoalDistance()),
    }


def run(options: argparse.Namespace) -> dict[str, float]:
    """One run: a model, then every agent in the same episodes."""
    begun = time.process_time()
    dynamics = train(options.seed, options.steps)
    found = {"train/seconds": time.process_time() - begun, "episodes/count": float(options.episodes)}
    for name, agent in agents(dynamics).items():
        played = play(WORLD, agent, options.episodes, seed=10**5 + options.seed)
        found |= {
            f"{name}/success": float(played.at_goal.double().mean()),
            f"{name}/wrong": float((WORLD.ended(played.states[:, -1]) & ~played.at_goal).double().mean()),
            f"{name}/ms": 1000 * played.seconds,
            f"{name}/evaluations": played.evaluations,
        }
    return found


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="of Adam (%(default)s)")
    parser.add_argument("--episodes", type=int, default=100, help="of each agent (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the model, its data and the episodes")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
