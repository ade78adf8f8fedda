"""A film of an episode among obstacles, beside where two models have imagined them and how likely a collision.

    python benchmarks/programs/uncertainty_film.py --out film.gif

Trains the model with a latent and the deterministic one, lets the first plan by CVaR, and draws a frame a step: the
room, where the obstacles were imagined at the last look, and the chance of a collision up to this step of the plan.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import torch
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from uncertainty import controller
from uncertainty_models import CHANNELS, Settings, Trip, batches, collision, train_encoder, train_model
from uncertainty_readings import DRAWS, Imaginer, probe_of

from ebm.energies import CVaR, Plan
from ebm.worlds import DynamicObstacles

EVERY, WEIGHT = 3, 20.0


class Shot(NamedTuple):
    """What one frame shows."""

    room: Tensor  # (planes, size, size)
    imagined: dict[str, Tensor]  # where obstacles are expected now, (size, size), by model
    chance: dict[str, float]  # of a collision from the last look up to here


@torch.no_grad()
def expectations(
    model: Imaginer, observation: Tensor, actions: Tensor, probe: LogisticRegression, seed: int
) -> tuple[Tensor, Tensor]:
    """Where obstacles are expected, `(T, size, size)`, and the chance of a collision up to each step `(T,)`."""
    plan = Plan(model.dynamics, Trip(model.heads, 1.0), len(actions), 3, draws=model.draws, seed=seed)
    found = plan.imagine(plan.dynamics.read(observation[None]), actions[None])
    chances = collision(Trip(model.heads, 1.0).chances(found)).reshape(-1, len(actions)).mean(0)
    places = found.codes.reshape(-1, len(actions), CHANNELS, observation[0].numel()).transpose(-1, -2)
    obstacles = torch.from_numpy(probe.predict_proba(places.reshape(-1, CHANNELS).numpy())[:, 1])
    return obstacles.reshape(places.shape[:-1]).mean(0).unflatten(-1, observation.shape[1:]), chances


@torch.no_grad()
def shots(
    models: dict[str, Imaginer], world: DynamicObstacles, probe: LogisticRegression, seed: int, limit: int
) -> list[Shot]:
    """An episode of the model with a latent."""
    generator = torch.Generator().manual_seed(seed)
    states = world.start(1, generator)
    latent = models["latent"]
    agent = controller(latent.dynamics, Trip(latent.heads, WEIGHT), DRAWS, CVaR(0.2), EVERY)
    seen = world.observe(states)[0]
    taken = [Shot(seen, dict.fromkeys(models, seen[0]), dict.fromkeys(models, 0.0))]
    while not bool(world.ended(states)) and len(taken) < limit:
        seen = world.observe(states)[0]
        first = agent.act(seen[None], None)
        actions = agent.actions[0]  # the whole plan
        told = {name: expectations(model, seen, actions, probe, len(taken)) for name, model in models.items()}
        for t in range(EVERY):
            done = first if t == 0 else agent.act(world.observe(states), None)
            states = world.step(states, done, world.noise(states, generator))
            imagined = {name: places[t] for name, (places, _) in told.items()}
            chance = {name: float(chances[t]) for name, (_, chances) in told.items()}
            taken.append(Shot(world.observe(states)[0], imagined, chance))
    return taken


def draw_room(axis: Axes, room: Tensor) -> None:
    """Walls grey, goal green, obstacles blue, the agent a red triangle."""
    picture = torch.ones(*room.shape[1:], 3)
    for plane, colour in ((1, (0.5, 0.5, 0.5)), (2, (0.6, 0.9, 0.6)), (0, (0.2, 0.4, 0.9))):
        picture[room[plane] > 0] = torch.tensor(colour)
    axis.imshow(picture)
    heading, y, x = (int(number) for number in room[3:].nonzero()[0])
    axis.plot(x, y, marker=[">", "v", "<", "^"][heading], color="#d9480f", ms=10)
    axis.set(xticks=[], yticks=[])


def film(taken: list[Shot], path: Path) -> None:
    """A frame a step."""
    mpl.use("Agg")
    names = list(taken[0].imagined)
    figure, axes = plt.subplots(1, 2 + len(names), figsize=(3 * (2 + len(names)), 3.3), layout="constrained")

    def frame(i: int) -> list[Axes]:
        for axis in axes:
            axis.clear()
        draw_room(axes[0], taken[i].room)
        axes[0].set_title(f"step {i}, looked at {(max(i, 1) - 1) // EVERY * EVERY}", fontsize=9)
        for axis, name in zip(axes[1:], names, strict=False):
            axis.imshow(taken[i].imagined[name], vmin=0, vmax=0.6, cmap="Blues")
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"obstacles, as imagined: {name}", fontsize=9)
        for name in names:
            axes[-1].plot([shot.chance[name] for shot in taken[: i + 1]], label=name, marker="o", ms=3)
        axes[-1].set(xlim=(0, len(taken)), ylim=(0, 0.5))
        axes[-1].set_title("chance of a collision since the last look", fontsize=9)
        axes[-1].legend(fontsize=7)
        return list(axes)

    FuncAnimation(figure, frame, frames=len(taken)).save(path, PillowWriter(fps=2), dpi=60)  # type: ignore[arg-type]
    plt.close(figure)


def main() -> None:
    """Train, play, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the film goes")
    parser.add_argument("--steps", type=int, default=500, help="of training each model (%(default)s)")
    parser.add_argument("--first_steps", type=int, default=400, help="of training encoder and costs (%(default)s)")
    parser.add_argument("--limit", type=int, default=60, help="steps of the episode (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    settings = Settings(steps=options.steps, first_steps=options.first_steps)
    reads, heads = train_encoder(settings, options.seed)
    plain = train_model(settings, "deterministic", reads, options.seed)
    latent = train_model(settings, "latent", reads, options.seed, plain)
    models = {
        "latent": Imaginer(latent.dynamics, heads, DRAWS),
        "deterministic": Imaginer(plain.dynamics, heads, 0),
    }
    probe = probe_of(models["latent"].dynamics, next(batches(settings, 600, 384, 3)))
    world = DynamicObstacles(settings.size, settings.obstacles)
    film(shots(models, world, probe, options.seed, options.limit), options.out)


if __name__ == "__main__":
    main()
