"""Train a world model of `WallRooms` by the recipe that EB-JEPA publishes, and plan with it from room to room.

    python benchmarks/programs/anchor.py --setting=small --arm=all --seed=0
    python benchmarks/programs/anchor.py --setting=published --arm=all --device=cuda --episodes=256

The recipe is that of Terver et al. 2026 (2602.03604, the action-conditioned example): an Impala encoder, a gated
recurrent unit that starts at the code and is fed the actions, its error over 8 steps; variance 16, covariance 8,
smoothness 12, inverse dynamics 1; AdamW. `--arm` leaves out one of the four. Walks are made and drawn on the device as
they are needed. `--setting=small` is the same for a CPU: rooms of 33 pixels, three convolutions, 64 features.
Called by `ebm study run benchmarks/studies/anchor.yaml`, once for each run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import final

import torch
from torch import Tensor, nn
from world_training import r_squared, small_encoder

from ebm.constraints import Ball
from ebm.energies.costs import Cost, GoalDistance, Imagined
from ebm.energies.dynamics import LearnedDynamics
from ebm.energies.plan import Plan
from ebm.learner import rate
from ebm.meters.ridge import PENALTIES, fitted
from ebm.networks import Impala, RecurrentTransition, Transition
from ebm.planning import Agent, Following, ModelPredictiveControl, TrueDynamics, play
from ebm.regularizers import Covariance, Variance
from ebm.regularizers.trajectories import InverseDynamics, TemporalSmoothness
from ebm.solvers import MPPI, Adam, CrossEntropyMethod, Solver
from ebm.study.program import publish
from ebm.worlds import Uniform, WallRooms, wall_walks

WEIGHTS = {"variance": 16.0, "covariance": 8.0, "smoothness": 12.0, "inverse": 1.0}
PLANNERS = ("mppi", "cem", "gradient")
ARMS = ("all", *(f"no_{term}" for term in WEIGHTS))


@dataclass(frozen=True)
class Setting:
    """How large all is."""

    world: WallRooms
    encoder: Callable[[], nn.Module]
    features: int
    times: int
    rollout: int
    batch: int
    steps: int
    horizon: int
    planners: dict[str, tuple[Solver, int]]  # with how many starts
    episodes: int


SMALL = Setting(
    world=WallRooms(
        size=33,
        border=2.0,
        door=3.0,
        wall_margin=11,
        door_margin=6,
        dot=1.0,
        reach=2.0,
        near=2.3,
        bump=0.25,
        episode=40,
    ),
    encoder=lambda: nn.Sequential(small_encoder(2, 64), nn.LayerNorm(64)),
    features=64,
    times=9,
    rollout=8,
    batch=48,
    steps=500,
    horizon=20,
    planners={
        "mppi": (MPPI(population=64, deviation=0.7, decay=0.9, steps=3), 1),
        "cem": (CrossEntropyMethod(population=64, elites=8, deviation=0.7, steps=3), 1),
        "gradient": (Adam(rate=0.3, steps=8), 4),
    },
    episodes=32,
)
PUBLISHED = Setting(
    world=WallRooms(),
    encoder=Impala,
    features=512,
    times=17,
    rollout=8,
    batch=384,
    steps=3000,
    horizon=90,
    planners={
        "mppi": (MPPI(population=200, deviation=0.7, decay=0.9, steps=4), 1),
        "cem": (CrossEntropyMethod(population=200, elites=20, deviation=0.7, steps=4), 1),
        "gradient": (Adam(rate=0.3, steps=10), 8),
    },
    episodes=256,
)
SETTINGS = {"small": SMALL, "published": PUBLISHED}


@final
class Standardized(nn.Module):
    """Pictures with mean 0 and deviation 1 in each channel, of those that it was made from, before an encoder."""

    def __init__(self, encoder: nn.Module, pictures: Tensor) -> None:
        super().__init__()
        self.encoder = encoder
        deviation, mean = torch.std_mean(pictures, (0, 2, 3), keepdim=True)
        self.register_buffer("mean", mean[0])
        self.register_buffer("deviation", deviation[0])

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder((x - self.mean) / self.deviation)


@final
class Renormalized(Transition):
    """A transition whose codes are put where the encoder's are, by the same `LayerNorm` without weights."""

    def __init__(self, inner: Transition) -> None:
        super().__init__(inner.features, inner.actions, inner.latents)
        self.inner, self.norm = inner, nn.LayerNorm(inner.features)

    def after(self, code: Tensor, acting: Tensor) -> Tensor:
        return self.norm(self.inner.after(code, acting))


@final
class Terms(nn.Module):
    """What is minimised, by name, of codes `(batch, times, features)` and the actions between them."""

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        features = setting.features
        self.rollout, self.pairs = setting.rollout, features - 1
        self.variance, self.covariance, self.smoothness = Variance(), Covariance(), TemporalSmoothness()
        self.inverse = InverseDynamics(features, 2, (256, 256))
        self.pixels = setting.world.reach**2  # their actions are in pixels, ours are shares of the limit

    def forward(self, dynamics: LearnedDynamics, codes: Tensor, actions: Tensor) -> dict[str, Tensor]:
        steps, flat = self.rollout, codes.flatten(0, 1).float()
        predicted = dynamics.rollout(codes[:, 0], actions[:, :steps])
        return {
            "prediction": (predicted - codes[:, 1 : steps + 1]).float().square().mean(),
            "variance": self.variance(flat),
            "covariance": self.covariance(flat) / self.pairs,  # the mean over pairs
            "smoothness": self.smoothness(codes.float()),
            "inverse": self.pixels * self.inverse(codes.float(), actions),
        }


def train(setting: Setting, arm: str, device: torch.device, seed: int) -> tuple[LearnedDynamics, dict[str, float]]:
    """A model, and what was left of each term."""
    torch.manual_seed(seed)
    generator = torch.Generator(device).manual_seed(seed)
    world, weights = setting.world, {"prediction": 1.0, **WEIGHTS}
    if arm != "all":
        weights[arm.removeprefix("no_")] = 0.0
    first = world.observe(wall_walks(world, 64, 8, generator).states).flatten(0, 1)
    transition = Renormalized(RecurrentTransition(setting.features, 2))
    dynamics = LearnedDynamics(Standardized(setting.encoder(), first.cpu()), transition).to(device)
    terms = Terms(setting).to(device)
    parameters = [*dynamics.parameters(), *terms.parameters()]
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=1e-5, fused=device.type == "cuda")
    for step in range(setting.steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * rate(step, setting.steps, 0.0, 0.05)
        walks = wall_walks(world, setting.batch, setting.times - 1, generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            values = terms(dynamics, dynamics.read(world.observe(walks.states)), walks.actions)
        optimizer.zero_grad()
        sum(weights[name] * value for name, value in values.items()).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 2.0)
        optimizer.step()
    dynamics.requires_grad_(False).eval()
    return dynamics, {f"left/{name}": float(value.detach()) for name, value in values.items()}


@torch.no_grad()
def read(dynamics: LearnedDynamics, setting: Setting, device: torch.device) -> dict[str, float]:
    """How much of the place a linear probe finds in codes, and in what is imagined after 8 steps."""
    generator = torch.Generator(device).manual_seed(10**6)
    found = []
    for count in (1024, 256):
        walks = wall_walks(setting.world, count, setting.rollout, generator)
        codes = dynamics.read(setting.world.observe(walks.states[:, 0]))
        ahead = dynamics.rollout(codes, walks.actions)[:, -1]
        found.append((codes.double().cpu(), ahead.double().cpu(), walks.states[..., :2].double().cpu()))
    (codes, _, places), (others, ahead, true) = found
    weights, offset = fitted(codes, places[:, 0], PENALTIES)
    return {
        "probe/now": r_squared(others @ weights + offset, true[:, 0]),
        "probe/ahead": r_squared(ahead @ weights + offset, true[:, -1]),
    }


@final
class Way(Cost):
    """The length of the shortest way from each imagined state to the goal, summed: what no model knows."""

    def __init__(self, world: WallRooms) -> None:
        super().__init__()
        self.world = world

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        return self.world.distance(imagined.codes).sum(-1)


def agents(dynamics: LearnedDynamics | None, setting: Setting, chosen: Sequence[str]) -> dict[str, Agent]:
    """Those that plan with the model; without one, the floor and the ceilings."""
    if dynamics is None:
        true, solver = TrueDynamics(setting.world), setting.planners["mppi"][0]
        costs = {"true way": Way(setting.world), "true straight": _Straight()}
        plans = {name: Plan(true, cost, min(setting.horizon, 20)) for name, cost in costs.items()}
        told = {name: ModelPredictiveControl(plan, solver, within=Ball()) for name, plan in plans.items()}
        return {"random": Following(setting.world, Uniform()), **told}
    plan = Plan(dynamics, GoalDistance("sum"), setting.horizon)
    planners = {name: setting.planners[name] for name in chosen}
    return {
        name: ModelPredictiveControl(plan, solver, restarts=starts, within=Ball())
        for name, (solver, starts) in planners.items()
    }


@final
class _Straight(Cost):
    """The distance as a bird flies, summed."""

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        return torch.linalg.vector_norm(imagined.codes[..., :2] - imagined.codes[..., 2:4], dim=-1).sum(-1)


def tried(name: str, agent: Agent, setting: Setting, seed: int, device: torch.device) -> dict[str, float]:
    """What came of episodes with an agent: the same ones for all agents of a seed."""
    begun, episodes = time.perf_counter(), setting.episodes
    played = play(setting.world, agent, episodes, seed=10**5 + seed, device=device)
    lengths = torch.linalg.vector_norm(played.actions, dim=-1)
    return {
        f"{name}/at_goal": float(played.at_goal.double().mean()),
        f"{name}/reached": float(played.reached.double().mean()),
        f"{name}/longest": float(lengths.max()),
        f"{name}/evaluations": played.evaluations,
        f"{name}/ms": 1000 * played.seconds,
        f"{name}/episode_seconds": (time.perf_counter() - begun) / episodes,
    }


def run(options: argparse.Namespace) -> dict[str, float]:
    """One run: train, read, plan."""
    device, setting = torch.device(options.device), SETTINGS[options.setting]
    asked = {name: getattr(options, name) for name in ("steps", "episodes", "horizon", "batch")}
    setting = replace(setting, **{name: value for name, value in asked.items() if value})
    if options.moments:
        setting = replace(setting, world=replace(setting.world, episode=options.moments))
    begun, spent = time.perf_counter(), time.process_time()
    if options.arm == "none":
        dynamics, found, chosen = None, {}, ()
    else:
        dynamics, found = train(setting, options.arm, device, options.seed)
        found = {
            **found,
            "train/wall_seconds": time.perf_counter() - begun,
            "train/seconds": time.process_time() - spent,
            **read(dynamics, setting, device),
        }
        chosen = options.planners.split(",") if options.planners else ("mppi",) if options.arm != "all" else PLANNERS
    for name, agent in agents(dynamics, setting, chosen).items():
        found |= tried(name, agent, setting, options.seed, device)
    return {**found, "episodes/count": setting.episodes}


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=list(SETTINGS), default="small", help="how large (%(default)s)")
    parser.add_argument(
        "--arm", choices=["none", *ARMS], default="all", help="what is left out; none: floor and ceiling"
    )
    parser.add_argument("--device", default="cpu", help="(%(default)s)")
    parser.add_argument(
        "--planners", help=f"of {', '.join(PLANNERS)}, by commas (all of them with --arm=all, else mppi)"
    )
    parser.add_argument("--steps", type=int, help="of the optimizer, unless as in the setting")
    parser.add_argument("--batch", type=int, help="walks in a batch, unless as in the setting")
    parser.add_argument("--horizon", type=int, help="of plans, unless as in the setting")
    parser.add_argument("--episodes", type=int, help="unless as in the setting")
    parser.add_argument("--moments", type=int, help="steps of an episode, unless as in the setting")
    parser.add_argument("--seed", type=int, default=0, help="of walks, networks and episodes")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
