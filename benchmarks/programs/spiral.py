"""What one regularizer makes of spirals between pairs of dimensions, when it moves points or trains a network.

    python benchmarks/programs/spiral.py --arm benchmarks/studies/arms/spiral/bhep_3.yaml --mover=network --seed=0

The regularizers of the arm alone are minimised, by Adam, over 512 points (`--mover=points`), or over the weights of
`x + MLP(x)`, which begins as the identity, on batches of 512 of 8,192 points; the network is read on 2,048 others.
Called by `ebm study run benchmarks/studies/spiral.yaml`, once for each run.

What is left, in nats for each spiral:

- `left/pairs`: Kraskov's total correlation of the two dimensions that had the spiral, the known rotation undone.
- `left/total`: the total correlation of all dimensions, of any order. Of a network it is known but for entropies of
  single dimensions: `h(f(x)) = h(x) + E log |det f'(x)|`, `h(x)` in closed form. Where f folds space over, it is more.
- `left/negentropy`: the same against the normal density of that covariance: what no rotation can change.
- `left/displaced`: `left/pairs` of the points at the start, each moved at random as far as the regularizer moved them.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from ebm.data import Spirals
from ebm.learner import Term
from ebm.meters.dependence import distance_correlation
from ebm.meters.entropy import gaussian_entropy, kozachenko_leonenko, negentropy
from ebm.meters.information import total_correlation
from ebm.meters.intrinsic_dimension import two_nn
from ebm.networks import MLP
from ebm.study.program import publish

POINTS, BATCH, HELD_OUT, JACOBIANS = 512, 512, 2048, 256
STEPS = {"points": 300, "network": 500}
RATES = {"points": 0.03, "network": 1e-3}
NOISE = {"points": 0.02, "network": 0.05}  # of the spirals: a network needs something to unroll them by
READ = 8  # spirals, at most, that neighbours are counted in


class Displaced(nn.Module):
    """`x + MLP(x)`, the identity at first."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.network = MLP([features, width, width, width, features], activation=nn.GELU)
        for parameter in self.network.layers[-1].parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """`(*batch, features)` to as many."""
        return x + self.network(x)


def terms(arm: Path) -> list[Term]:
    """The weighted regularizers of an arm."""
    parser = ArgumentParser()
    parser.add_argument("--regularizers", type=dict[str, Term])
    parsed = parser.parse_object(yaml.safe_load(arm.read_text())["model"])
    return list(parser.instantiate(parsed).regularizers.values())


def value(regularizers: list[Term], codes: Tensor) -> Tensor:
    """The weighted sum."""
    return torch.stack([term.weight * term.fn(codes) for term in regularizers]).sum()


def drawn(source: Spirals, count: int, seed: int) -> Tensor:
    """Points in single precision."""
    return torch.from_numpy(source.draw(count, np.random.default_rng(seed))[0]).float()


def train(arm: list[Term], moved: list[nn.Parameter], encode: Callable[[], Tensor], steps: int, rate: float) -> float:
    """Minimise over `moved` what the arm says of `encode()`; the seconds of CPU that its value and slope take."""
    optimizer = torch.optim.Adam(moved, rate)
    spent = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 + math.cos(math.pi * step / steps)) / 2
        codes = encode()
        leaf = codes.detach().requires_grad_()
        start = time.process_time()
        (slope,) = torch.autograd.grad(value(arm, leaf), leaf)
        spent.append(time.process_time() - start)
        optimizer.zero_grad()
        codes.backward(slope)
        torch.nn.utils.clip_grad_norm_(moved, 5.0)
        optimizer.step()
    return float(np.median(spent))


def pairs(codes: Tensor, rotation: Tensor) -> float:
    """Mean total correlation of the dimensions that had a spiral, once rotated back."""
    planes = (codes.double() @ rotation.T).split(2, 1)[:READ]
    return float(np.mean([total_correlation(plane) for plane in planes]))


def readings(codes: Tensor, start: Tensor, rotation: Tensor) -> dict[str, float]:
    """What can be read of any codes, beside the points that they began as."""
    plane = (codes.double() @ rotation.T)[:, :2]
    correlations = torch.corrcoef(codes.T).fill_diagonal_(0)
    moved = (codes - start).square().mean().sqrt()
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(0))
    return {
        "left/pairs": pairs(codes, rotation),
        "left/displaced": pairs(start + moved * noise, rotation),
        "code/moved": float(moved),
        "code/std": float(codes.std(0).mean()),
        "code/correlation": float(correlations.abs().max()),
        "code/distance_correlation": distance_correlation(plane[:, :1], plane[:, 1:]),
        "code/negentropy_pair": negentropy(plane),
        "code/two_nn": two_nn(codes),
    }


def exact(network: nn.Module, points: Tensor, source: Spirals) -> dict[str, float]:
    """Total correlation and negentropy of `network(x)`, nats a spiral, by the change of variables."""
    spirals, spiral = source.dimensions / 2, source._spiral
    jacobians = torch.func.vmap(torch.func.jacrev(network), chunk_size=64)(points[:JACOBIANS])
    stretch = float(torch.linalg.slogdet(jacobians.detach().double())[1].mean())
    whole = spirals * (math.log(2 * math.pi * math.e) - spiral.negentropy) + stretch
    with torch.no_grad():
        codes = network(points)
    single = sum(kozachenko_leonenko(codes[:, [i]]) for i in range(source.dimensions))
    return {
        "left/total": (single - whole) / spirals,
        "left/negentropy": (gaussian_entropy(codes) - whole) / spirals,
    }


def run(options: argparse.Namespace) -> dict[str, float]:
    """One run: train, then read."""
    torch.manual_seed(options.seed)
    mover, features = options.mover, options.dimensions
    source = Spirals(dimensions=features, rotated=options.rotated, noise=NOISE[mover])
    rotation = torch.from_numpy(source._rotation) if options.rotated else torch.eye(features).double()
    arm, steps, rate = terms(options.arm), options.steps or STEPS[mover], RATES[mover]
    if mover == "points":
        start = drawn(source, POINTS, options.seed)
        free = nn.Parameter(start.clone())
        seconds = train(arm, [free], lambda: free, steps, rate)
        codes, found = free.detach(), {}
    else:
        rows, start = drawn(source, 8192, 0), drawn(source, HELD_OUT, 1)
        network = Displaced(features, 128 if features == 2 else 256)
        batch = lambda: network(rows[torch.randint(len(rows), (BATCH,))])  # noqa: E731
        seconds = train(arm, list(network.parameters()), batch, steps, rate)
        codes, found = network(start).detach(), exact(network, start, source)
    if options.save:
        np.savez(options.save, codes=codes.numpy(), start=start.numpy())
    return {**found, **readings(codes, start, rotation), "step/ms": 1000 * seconds}


def main() -> None:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", type=Path, required=True, help="a YAML file with model.regularizers")
    parser.add_argument("--mover", choices=list(STEPS), default="points", help="what is moved (%(default)s)")
    parser.add_argument("--dimensions", type=int, default=2, help="an even number (%(default)s)")
    parser.add_argument("--rotated", type=lambda word: word.lower() == "true", default=False, help="true or false")
    parser.add_argument("--steps", type=int, help=f"of Adam (default {STEPS})")
    parser.add_argument("--save", type=Path, help="an .npz file for the codes and the points that they began as")
    parser.add_argument("--seed", type=int, default=0, help="of the points, the network and the batches")
    publish(run(parser.parse_args()))


if __name__ == "__main__":
    main()
