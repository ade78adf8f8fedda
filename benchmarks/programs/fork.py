"""One predictor at the fork in the road: what may it not know, and how does it say so?

    python benchmarks/programs/fork.py --case "even/frozen/two-way" --seed 0

A case is a world, a code of frames and a latent, by the names in WORLDS, CODES and LATENTS. From two frames of a car
(or two) before the junction the code of the frame five steps later is predicted. Called by
`ebm study run benchmarks/studies/fork.yaml`, once for each run. What is read, on 512 pasts that were held out:

- `auroc/impossible`: how often an impossible future has more energy than the true one; `auroc/average` of a car midway
  between its places in all futures, `auroc/blend` of the mean of the pictures of all futures, `auroc/off_road` and
  `auroc/too_far` likewise. The first is over `average`, `off_road` and `too_far`.
- `energy/true`, `energy/average`: mean energies, by feature of the code.
- `imagined/distance`: of predictions for latents drawn at random the squared distance from the nearest future, by that
  between futures, 1 at most: 0 on one, 1/4 midway between two. `imagined/on_mode`: how many are nearer than 0.05;
  `imagined/left`: how many of these are at the first future. Latents are drawn as they were inferred for other pairs of
  the training, where they have a prior from it.
- `latent/bits`: what z tells (`ebm.meters.latent_information`); `latent/probe`: accuracy of the choice, read from z.
- `code/probe`: accuracy of the choice, read from the code of y (logistic regression at the scale of the code);
  `code/share`: the share of the variance of that code that the choice makes, the past being known.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from fork_codes import CODES, Batch, PrincipalComponents, Trained, context
from torch import Tensor, nn

from ebm import L1, L2, LBFGS, Enumerated, Enumeration, FreeEnergy, GradientDescent, ProximalLBFGS, Restarts, Unrolled
from ebm.energies import LatentPredictive, OfLatent, StopGradient
from ebm.meters import latent_information, linear_probe
from ebm.meters.landscape import share_below
from ebm.networks import MLP, GaussianChannel
from ebm.penalties import Penalty
from ebm.regularizers import GaussianInformation
from ebm.study.program import publish
from ebm.worlds import Fork, simulate

AHEAD, LATER = 5, 7  # steps to the future that is asked for, and to the last that is seen
TRAIN, HELD_OUT, BATCH = 4096, 512, 128
WIDTH = 96  # of the predictor
WIDE = 0.3  # a car as a blurred camera has it, so that its code changes smoothly with its place
GRID = 41  # places of a landscape, in each direction
ON_MODE = 0.05
WORLDS = {
    "even": Fork(width=WIDE),
    "uneven": Fork((0.7, 0.3), width=WIDE),
    "three exits": Fork((1 / 3, 1 / 3, 1 / 3), width=WIDE),
    "two cars": Fork(cars=2, width=WIDE),
}


class Latent(NamedTuple):
    """A latent, and how it is limited: all of it arguments of `FreeEnergy`."""

    features: int
    asked: Mapping[str, Any]
    learned: Callable[[float], Mapping[str, Any]]  # from the share of the training that is done
    nats: float | None = None  # the weight of what an encoder tells, by feature of the code; there is none if None


def discrete(count: int) -> Latent:
    """One of so many, at a temperature that falls to none half way."""
    values = torch.eye(count)

    def learned(share: float) -> dict[str, Any]:
        return {"marginal": Enumerated(1 / (4 - 8 * share) if share < 0.499 else math.inf, values)}

    return Latent(count, {"solver": Enumeration(values)}, learned)


def gaussian(beta: float, features: int = 2) -> Latent:
    """Predicted with noise; asked, it pays for its distance from 0 what the prior says."""
    predicted = {"solver": GradientDescent(steps=0), "adjoint": Unrolled()}
    asked = {"penalty": L2(beta), "solver": ProximalLBFGS(steps=30, tolerance=1e-3), "restarts": Restarts(3)}
    return Latent(features, asked, lambda _: predicted, beta)


def inferred(features: int, penalty: Penalty | None = None) -> Latent:
    """Inferred from zero, at a price or for nothing."""
    solver = LBFGS if penalty is None else ProximalLBFGS
    quick, thorough = solver(steps=5, tolerance=1e-2), solver(steps=40, tolerance=1e-3)
    asked = {"penalty": penalty, "solver": thorough, "restarts": Restarts(3)}
    return Latent(features, asked, lambda _: {"penalty": penalty, "solver": quick})


LATENTS = {
    "deterministic": Latent(0, {}, lambda _: {}),
    "two-way": discrete(2),
    "three-way": discrete(3),
    "four-way": discrete(4),
    "eight-way": discrete(8),
    "gaussian .02": gaussian(0.08),  # times 4 features: here the energy is their sum
    "gaussian .5": gaussian(2.0),
    "sparse": inferred(8, L1(0.5)),
    "small": inferred(8, L2(8.0)),
    "free 2": inferred(2),
    "free 8": inferred(8),
    "free 32": inferred(32),
}


class Data(NamedTuple):
    """What happened, and what was seen of it."""

    states: Tensor  # (n, steps + 1, features)
    frames: Tensor  # (n, steps + 1, 2, size, size)

    def pair(self, first: int = 0, later: int = AHEAD) -> tuple[Tensor, Tensor]:
        """Two frames `(n, 2, size, size)` and a later one `(n, 1, size, size)`."""
        return self.frames[:, first], self.frames[:, later, 1:]

    def exits(self, world: Fork) -> Tensor:
        """Which of the futures came, `(n,)`."""
        futures = world.futures(self.states[:, 0], AHEAD)
        return (futures - self.states[:, AHEAD]).abs().sum(-1).argmin(0)


def drawn(world: Fork, count: int, seed: int) -> Data:
    """Drives from the start, of which no two have the same past."""
    waiting = lambda world, states, _: states.new_zeros(*states.shape[:-1], 0)  # noqa: E731
    states = simulate(world, waiting, count, LATER, torch.Generator().manual_seed(seed)).states
    return Data(states, world.observe(states))


def build(latent: Latent, code: str, data: Data) -> LatentPredictive:
    """The energy, not trained."""
    way = CODES[code]
    if isinstance(way, Trained):
        frames, features, target = MLP([data.frames[0, 0, 0].numel(), 128, way.features]), way.features, way.target
    else:
        seen = data.frames[: TRAIN // 4, : AHEAD + 1, 1].flatten(0, 1).flatten(1)
        frames, features, target = PrincipalComponents(seen, way), way.features, StopGradient
    predictor = MLP([2 * features + latent.features, WIDTH, WIDTH, features])
    noisy = {} if latent.nats is None else {"latent_encoder": MLP([3 * features, 64, 2 * latent.features])}
    channel = {} if latent.nats is None else {"channel": GaussianChannel()}
    return LatentPredictive(context(frames), predictor, latent.features, target, **noisy, **channel)


def train(energy: LatentPredictive, latent: Latent, code: str, data: Data, world: Fork, steps: int) -> float:
    """The seconds of CPU that it took."""
    way, exits = CODES[code], data.exits(world)
    terms = way.terms(data.frames[0, 0, 0].numel(), world.modes) if isinstance(way, Trained) else nn.Identity()
    moved = [p for p in [*energy.parameters(), *terms.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(moved, 2e-3, weight_decay=0.01)
    told, start = OfLatent(GaussianInformation()), time.process_time()
    for step in range(steps):
        rows, share = torch.randint(TRAIN, (BATCH,)), step / steps
        some = Data(data.states[rows], data.frames[rows])
        x, y = some.pair(*(way.pairs(step) if isinstance(way, Trained) else ()))
        F = FreeEnergy(energy, **latent.learned(share))
        hx, hy = energy.encode(x, y)
        total = F(hx, hy).mean()
        if latent.nats is not None:
            total = total + latent.nats * told(F, hx, hy)
        if isinstance(way, Trained):
            total = 25 * total / way.features + terms(energy, hx, hy, Batch(y, exits[rows], rows))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        energy.after_step(share)
    return time.process_time() - start


class Asked(NamedTuple):
    """A trained energy, and the pasts that it is asked about."""

    F: FreeEnergy
    world: Fork
    start: Tensor
    hx: Tensor
    hy: Tensor

    def code(self, frames: Tensor) -> Tensor:
        """The codes `(*batch, features)` of frames `(*batch, size, size)`."""
        energy = self.F.energy
        flat = frames.flatten(0, -3).unsqueeze(1)
        return energy.target(energy.context, flat).flatten(1).unflatten(0, frames.shape[:-2])

    def futures(self) -> Tensor:
        """Codes of all that may come, `(modes, n, features)`."""
        return self.code(self.world.observe(self.world.futures(self.start, AHEAD))[..., 1, :, :])

    def imagined(self, latent: Latent, pairs: tuple[Tensor, Tensor], rows: Tensor | slice = slice(None)) -> Tensor:
        """Predictions for latents at random, one for each row of the pasts."""
        hx, energy = self.hx[rows], self.F.energy
        if not latent.features:
            return energy.decode(hx, None)
        if latent.nats is not None:
            return energy.decode(hx, torch.randn(len(hx), latent.features))
        return energy.decode(hx, self.F.infer(*(part[: len(hx)] for part in pairs)).z)


def energies(asked: Asked, generator: torch.Generator) -> dict[str, float]:
    """What the energy says of the true future and of what is none."""
    world, features = asked.world, asked.hy.shape[1]
    wrong = {name: world.render(places) for name, places in world.impossible(asked.start, AHEAD, generator).items()}
    blend = world.render(world.places(world.futures(asked.start, AHEAD))).mean(0)
    true = asked.F(asked.hx, asked.hy)
    found = {name: asked.F(asked.hx, asked.code(frames)) for name, frames in (wrong | {"blend": blend}).items()}
    aurocs = {f"auroc/{name}": share_below(true, values) for name, values in found.items()}
    impossible = torch.cat([found[name] for name in wrong])
    means = {"energy/true": true.mean() / features, "energy/average": found["average"].mean() / features}
    return {"auroc/impossible": share_below(true, impossible), **aurocs, **{k: float(v) for k, v in means.items()}}


def futures(asked: Asked, latent: Latent, pairs: tuple[Tensor, Tensor], exits: Tensor) -> dict[str, float]:
    """How what is imagined stands to what may come, and what codes and latents tell of it."""
    modes, half = asked.futures(), len(asked.hy) // 2
    apart = torch.stack([(a - b).square().sum(-1) for i, a in enumerate(modes) for b in modes[:i]]).mean(0)
    away = (asked.imagined(latent, pairs) - modes).square().sum(-1) / apart
    near = away.amin(0).clamp_max(1)
    on = near < ON_MODE
    likely = torch.bincount(exits, minlength=len(modes)) / len(exits)
    spread = (likely[:, None, None] * (modes - (likely[:, None, None] * modes).sum(0)).square()).sum((0, 2)).mean()
    z = asked.F._infer(asked.hx, asked.hy).z if latent.features else None
    probe = lambda codes: linear_probe((codes[:half], exits[:half]), (codes[half:], exits[half:]))  # noqa: E731
    return {
        "imagined/distance": float(near.mean()),
        "imagined/on_mode": float(on.float().mean()),
        "imagined/left": float((away.argmin(0)[on] == 0).float().mean()),
        "latent/bits": latent_information(asked.F, asked.hx, asked.hy) / math.log(2),
        "latent/probe": math.nan if z is None else probe(z),
        "code/probe": probe(asked.hy),
        "code/share": float(spread / asked.hy.var(0).sum()),
    }


def save(path: Path, asked: Asked, latent: Latent, pairs: tuple[Tensor, Tensor]) -> None:
    """One past, for a picture: the energy of a car anywhere, and where it is imagined for latents at random."""
    world = asked.world
    row = int((asked.start[:, 0].abs() + (asked.start[:, 1] - 0.25).abs()).argmin())  # in mid-lane, at a usual speed
    line = torch.linspace(-1, 1, GRID)
    places = torch.cartesian_prod(line, line)[:, None]
    codes = asked.code(world.render(places))
    landscape = asked.F(asked.hx[row].expand(len(codes), -1), codes) / codes.shape[1]
    imagined = asked.imagined(latent, pairs, torch.full((64,), row))
    start = asked.start[row]
    np.savez(
        path,
        landscape=landscape.reshape(GRID, GRID).numpy(),
        imagined=places[torch.cdist(imagined, codes).argmin(1), 0].numpy(),
        futures=world.places(torch.stack([world.futures(start, n) for n in range(AHEAD + 1)]))[:, :, 0].numpy(),
    )


def run(options: argparse.Namespace) -> dict[str, float]:
    """Train, then read."""
    torch.set_num_threads(1)  # a second one would only wait, in steps as small as these
    torch.manual_seed(options.seed)
    name, code, way = options.case.split("/")
    world, latent = WORLDS[name], LATENTS[way]
    data, held_out = drawn(world, TRAIN, options.seed), drawn(world, HELD_OUT, 1000 + options.seed)
    energy = build(latent, code, data)
    seconds = train(energy, latent, code, data, world, options.steps)
    energy.eval().requires_grad_(False)
    pairs = Data(data.states[:HELD_OUT], data.frames[:HELD_OUT]).pair()
    asked = Asked(FreeEnergy(energy, **latent.asked), world, held_out.states[:, 0], *energy.encode(*held_out.pair()))
    if options.save:
        save(options.save, asked, latent, pairs)
    generator = torch.Generator().manual_seed(options.seed)
    found = energies(asked, generator) | futures(asked, latent, pairs, held_out.exits(world))
    return found | {"train/seconds": seconds}


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="even/frozen/two-way", help="world/code/latent (%(default)s)")
    parser.add_argument("--steps", type=int, default=500, help="of training (%(default)s)")
    parser.add_argument("--save", type=Path, help="an .npz file for the energy of one past, and what is imagined")
    parser.add_argument("--seed", type=int, default=0, help="of the drives, the networks and the batches")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
