"""What world models of a room know of what is to come, against what is known of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor
from uncertainty_models import CHANNELS, Batch, Heads, Settings, Trip, TrueTrip, batches, collision, divergence

from ebm.energies import Dynamics, Imagined, Plan, WorldModel
from ebm.planning import TrueDynamics
from ebm.worlds import DynamicObstacles
from ebm.worlds.policies import Uniform

DRAWS, MANY = 16, 64  # draws of a plan, and of a reading
READ = 384  # rooms that models are read on


class Imaginer(NamedTuple):
    """A model of what will be, what it costs, and how its futures are drawn."""

    dynamics: Dynamics
    heads: Heads
    draws: int


def placement(model: Imaginer, batch: Batch, probe: LogisticRegression, seed: int) -> Tensor:
    """Chances of an obstacle in each cell `(N, T, cells)` as the model has them."""
    with torch.no_grad():
        codes = imagined(model, batch, MANY, seed).codes
    places = codes.unflatten(-1, (CHANNELS, -1)).transpose(-1, -2)
    chances = torch.from_numpy(probe.predict_proba(places.reshape(-1, CHANNELS).numpy())[:, 1])
    return chances.reshape(places.shape[:-1]).mean(0)


def imagined(model: Imaginer, batch: Batch, draws: int, seed: int) -> Imagined:
    """What the model draws from the first of what was seen, `(draws, N, ...)`."""
    plan = Plan(model.dynamics, Trip(model.heads, 1.0), batch.actions.shape[1], 3, draws=draws if model.draws else 0)
    start = model.dynamics.read(batch.observations[:, 0])
    found = plan.configured(seed=seed).imagine(start, batch.actions)
    if model.draws:
        return found
    return Imagined(*(part.unsqueeze(0) for part in found))


def futures(world: DynamicObstacles, batch: Batch, seed: int) -> Tensor:
    """States `(MANY, N, T, features)` that may come of what was done."""
    truth = Plan(TrueDynamics(world), TrueTrip(world, 1.0), batch.actions.shape[1], 3, draws=MANY, seed=seed)
    return truth.imagine(batch.states[:, 0], batch.actions).codes


def nats(chances: Tensor, seen: Tensor) -> Tensor:
    """`-log p` of which cells have an obstacle, `(N, T, cells)` to `(T,)`; no chance is smaller than half a draw."""
    chances = chances.clamp(0.5 / MANY, 1 - 0.5 / MANY)
    return -(seen * chances.log() + (1 - seen) * (1 - chances).log()).sum(-1).mean(0)


def impossible(world: DynamicObstacles, before: Tensor, after: Tensor, generator: torch.Generator) -> Tensor:
    """The states after, with their first obstacle in a free cell that no obstacle was next to before."""
    kernel = torch.ones(1, 1, 3, 3)
    occupied = world.truth(before)["obstacles"].view(-1, 1, world.size, world.size)
    near = torch.nn.functional.conv2d(occupied, kernel, padding=1).flatten(1) > 0
    seen = world.observe(after).flatten(2)
    taken = (seen.sum(1) > 0) | near
    assert bool((~taken).any(1).all())
    cell = torch.multinomial((~taken).float(), 1, generator=generator)
    moved = torch.cat([cell % world.size, cell // world.size], 1).float()
    return torch.cat([after[:, :6], moved, after[:, 8:]], 1)


@torch.no_grad()
def gap(model: WorldModel, settings: Settings, world: DynamicObstacles, batch: Batch, seed: int) -> float:
    """AUROC of the free energy of one step: what was, against what cannot have been."""
    generator = torch.Generator().manual_seed(seed)
    before, after = batch.states[:, 0], batch.states[:, 1]
    energies = []
    for states in (after, impossible(world, before, after, generator)):
        situation = batch.situation._replace(actions=batch.actions[:, :1])
        hx, hy = model.encode(situation, world.observe(states).unsqueeze(1))
        cost = settings.precision * settings.features * model.cost(hx, hy, model.latent(hx, hy))
        energies.append(cost + divergence(model, hx, hy).sum(-1))
    labels = [0] * len(before) + [1] * len(before)
    return float(roc_auc_score(labels, torch.cat(energies).numpy()))


def probe_of(dynamics: Dynamics, batch: Batch) -> LogisticRegression:
    """Whether there is an obstacle in a place, by its code alone."""
    codes = dynamics.read(batch.observations[:, 0]).unflatten(-1, (CHANNELS, -1)).transpose(-1, -2)
    labels = batch.observations[:, 0, 0].flatten().numpy()
    return LogisticRegression(C=100, max_iter=300).fit(codes.reshape(-1, CHANNELS).numpy(), labels)


@torch.no_grad()
def calibration(model: Imaginer, batch: Batch, true: Tensor, unsettled: Tensor, seed: int) -> dict[str, float]:
    """Of the chance of a collision on the way of plans of random actions whose fate is open."""
    chances = collision(Trip(model.heads, 1.0).chances(imagined(model, batch, DRAWS, seed)))[..., -1].mean(0)
    happened = batch.outcomes[..., 0].amax(1)
    off = (chances - true)[unsettled]
    return {
        "error": float(off.square().mean().sqrt()),
        "bias": float(off.mean()),
        "expected": float(chances[unsettled].mean()),
        "happened": float(happened[unsettled].mean()),
        "brier": float((chances - happened)[unsettled].square().mean()),
    }


def readings(models: dict[str, tuple[WorldModel | None, Imaginer]], settings: Settings, seed: int) -> dict[str, float]:
    """What each model makes of rooms that it has not seen."""
    world = DynamicObstacles(settings.size, settings.obstacles, anywhere=True)
    batch = ended_too(world, READ, 4, 500 + seed)
    going = next(batches(settings, 600 + seed, READ, 3))
    seen = going.observations[:, 1:, 0].flatten(2)
    came = futures(world, batch, seed)
    true = world.violated(came).any(-1).float().mean(0)
    unsettled = (true > 0.02) & (true < 0.98)
    probe = probe_of(next(iter(models.values()))[1].dynamics, going)
    found = {"truth/unsettled": float(unsettled.float().mean())}
    marginal = world.truth(futures(world, going, seed))["obstacles"].mean(0)
    found |= {f"truth/likelihood_{t + 1}": float(value) for t, value in enumerate(nats(marginal, seen))}
    for name, (model, imaginer) in models.items():
        told = calibration(imaginer, batch, true, unsettled, seed)
        found |= {f"{name}/{key}": value for key, value in told.items()}
        spread = nats(placement(imaginer, going, probe, seed), seen)
        found |= {f"{name}/likelihood_{t + 1}": float(value) for t, value in enumerate(spread)}
        if model is not None:
            found[f"{name}/gap"] = gap(model, settings, world, going, seed)
    return found


def ended_too(world: DynamicObstacles, count: int, horizon: int, seed: int) -> Batch:
    """Random actions from anywhere, whatever comes of them."""
    generator = torch.Generator().manual_seed(seed)
    states = [world.start(count, generator)]
    actions = Uniform()(world, states[0].unsqueeze(1).expand(-1, horizon, -1), generator)
    for t in range(horizon):
        states.append(world.step(states[-1], actions[:, t], world.noise(states[-1], generator)))
    trajectory = torch.stack(states, 1)
    outcomes = torch.stack([world.violated(trajectory[:, 1:]), world.succeeded(trajectory[:, 1:])], -1).float()
    return Batch(world.observe(trajectory), actions, outcomes, trajectory)
