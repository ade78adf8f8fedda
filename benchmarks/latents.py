"""Ways to limit a latent, each one argument of a free energy: a decoder of digits, free, penalised, discrete, noisy.

    python benchmarks/latents.py            # everything, into benchmarks/results
    python benchmarks/latents.py --quick    # a few seconds, to see that it runs; nothing is written

A latent that can say everything makes the energy low everywhere. How low it is on images that are no digits tells.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from reporting import common_options, made_by, summary, with_interval, write_page
from rich.progress import Progress
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from ebm import L1, L2, LBFGS, Enumeration, Estimate, FreeEnergy, Normal, ProximalGradient, Variational
from ebm.energies import LatentDecoder
from ebm.losses import PushDown
from ebm.networks import MLP

RESULTS = Path(__file__).parent / "results"
SIDE = 8
SMOOTH = LBFGS(steps=50, tolerance=1e-3)
KINKED = ProximalGradient(steps=60, tolerance=1e-3)
NOISY = LBFGS(steps=10, tolerance=1e-2)  # each step looks at every sample of the noise
METRICS = {
    "unexplained": ".3f",
    "energy": ".3f",
    "auroc_halves": ".3f",
    "auroc_shuffled": ".3f",
    "bits": ".1f",
    "bits_used": ".1f",
    "cpu_seconds": ".0f",
}


@dataclass(frozen=True)
class Images:
    """Digits `(n, 64)` with grey values from 0 to 1, and two kinds of images that are none."""

    train: Tensor
    held_out: Tensor
    halves: Tensor
    """The left half of a digit held out, and the right half of another one of another class."""
    shuffled: Tensor
    """A digit held out whose pixels have changed places, differently in each."""


def arms(features: int) -> dict[str, dict[str, Any]]:
    """The arguments of FreeEnergy, by name; the latent has so many features in each, the first is the control."""
    return {
        "free": {"solver": SMOOTH},
        "no latent": {"solver": Enumeration(torch.zeros(1, features))},
        "L2 penalty": {"solver": KINKED, "penalty": L2(0.5)},
        "L1 penalty": {"solver": KINKED, "penalty": L1(0.3)},
        "discrete": {"solver": Enumeration(torch.eye(features))},
        "variational": {"solver": NOISY, "marginal": Variational(beta=30.0, samples=2 * features)},
    }


def load_images(seed: int) -> Images:
    """A fifth of the digits is held out."""
    digits = load_digits()
    split = train_test_split(digits.data / 16, digits.target, test_size=0.2, random_state=seed, stratify=digits.target)
    train, held_out = (torch.from_numpy(part).float() for part in split[:2])
    labels, generator = torch.from_numpy(split[3]), np.random.default_rng(seed)
    order = torch.from_numpy(generator.permutation(len(held_out)))
    left, right = (images.unflatten(1, (SIDE, SIDE)) for images in (held_out, held_out[order]))
    halves = torch.cat([left[..., : SIDE // 2], right[..., SIDE // 2 :]], -1).flatten(1)
    shuffled = torch.from_numpy(generator.permuted(held_out.numpy(), axis=1))
    return Images(train, held_out, halves[labels != labels[order]], shuffled)


def learn(images: Images, arguments: dict[str, Any], seed: int, options: argparse.Namespace) -> FreeEnergy:
    """Push the energy of the digits down; all that differs between arms is the arguments of FreeEnergy."""
    torch.manual_seed(seed)
    decoder = MLP([options.features, 64, SIDE * SIDE], activation=nn.Tanh)
    F = FreeEnergy(LatentDecoder(decoder, options.features), **arguments)
    # The weights decay, or the decoder would stretch a short code as far as a long one reached.
    optimizer = torch.optim.AdamW(F.parameters(), lr=3e-3, weight_decay=0.1)
    push_down = PushDown()
    for _ in range(options.epochs):
        for index in torch.randperm(len(images.train)).split(128):
            optimizer.zero_grad()
            push_down(F, images.train[index], images.train[index]).backward()
            optimizer.step()
    return F


def posterior(F: FreeEnergy, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Free energies, the codes (their means, where they are noisy) and the bits that each is known to take."""
    with torch.no_grad():
        found: Estimate = F.marginalise(None, y)
    z = found.search.z  # type: ignore[union-attr]  # every arm searches
    if isinstance(F.marginal, Variational):
        return found.value, z[0], divergence(*z) / math.log(2)
    if isinstance(F.solver, Enumeration):
        return found.value, z, torch.full_like(found.value, math.log2(len(F.solver.candidates)))
    return found.value, z, torch.full_like(found.value, math.nan)  # a real number may hold any number of them


def divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """`KL(q | p)` in nats of a normal q with independent features from the standard normal p, `(N,)`."""
    return Normal().cross_entropy(mean, deviation) - (deviation.log() + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


def judge(F: FreeEnergy, images: Images) -> dict[str, float]:
    """What the energy is worth on digits held out and on images that are none."""
    energy, z, bits = posterior(F, images.held_out)
    with torch.no_grad():
        left = (images.held_out - F.energy.decoder(z)).square().mean()
    return {
        "unexplained": float(left / (images.held_out - images.train.mean(0)).square().mean()),
        "energy": float(energy.mean()),
        "auroc_halves": auroc(energy, posterior(F, images.halves)[0]),
        "auroc_shuffled": auroc(energy, posterior(F, images.shuffled)[0]),
        "bits": float(bits.mean()),
        "bits_used": used(z) if isinstance(F.solver, Enumeration) else math.nan,
    }


def auroc(digits: Tensor, others: Tensor) -> float:
    """How often an image that is no digit has more energy than one that is."""
    return float(roc_auc_score([0] * len(digits) + [1] * len(others), torch.cat([digits, others])))


def used(z: Tensor) -> float:
    """The entropy in bits of how often each code is the best."""
    _, counts = z.unique(dim=0, return_counts=True)
    return float(torch.distributions.Categorical(counts / counts.sum()).entropy() / math.log(2))


def measure(options: argparse.Namespace) -> tuple[pd.DataFrame, dict[str, Tensor]]:
    """A row for each arm and seed, and for the first seed some images with their reconstructions by each arm."""
    rows, examples = [], {}
    arguments = arms(options.features)
    with Progress(disable=options.no_progress) as progress:
        task = progress.add_task("", total=options.seeds * len(arguments))
        for seed in range(options.seeds):
            images = load_images(seed)
            shown = torch.cat([images.held_out[:6], images.halves[:6]])
            for name, one in arguments.items():
                progress.update(task, description=f"{name}, seed {seed}")
                began = time.process_time()
                F = learn(images, one, seed, options)
                seconds = time.process_time() - began
                rows.append({"latent": name, "seed": seed} | judge(F, images) | {"cpu_seconds": seconds})
                if seed == 0:
                    with torch.no_grad():
                        examples.setdefault("images", shown)
                        examples[name] = F.energy.decoder(posterior(F, shown)[1])
                progress.advance(task)
    return pd.DataFrame(rows), examples


def write(table: pd.DataFrame, examples: dict[str, Tensor], options: argparse.Namespace) -> str:
    """Write what was measured where that is wanted, and return the table to print."""
    lines = "\n".join(summary(table, ["latent"], METRICS))
    if options.results is not None:
        options.results.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.results / "latents.csv", index=False, float_format="%.8g")
        picture = "![Reconstructions, and how well energies tell digits from other images](latents.png)"
        made = made_by(options.command, ("torch", "scikit-learn", "numpy"))
        write_page(options.results / "latents.md", "Ways to limit a latent", [how(options), picture, lines, *made])
        draw(table, examples, options)
    return lines


def how(options: argparse.Namespace) -> str:
    """What was measured."""
    listed = "\n".join(
        f"- {name}: `{', '.join(f'{key}={_named(value)}' for key, value in one.items())}`"
        for name, one in arms(options.features).items()
    )
    return (
        f"scikit-learn's digits, a fifth of them held out. `E(y, z) = |y - decoder(z)|^2` with {options.features}"
        f" latent features and a perceptron of 64 hidden units, pushed down for {options.epochs} epochs with the same"
        f" optimiser; only the arguments of `FreeEnergy` differ. Means and 95 % t-intervals over {options.seeds}"
        f" seeds.\n\n{listed}\n\n"
        "`unexplained` is the squared error of reconstructions of digits held out, as a share of that of the mean"
        " image; `energy` their free energy. `auroc halves` says how often an image that joins halves of digits"
        " of two classes has more energy than a digit held out, `auroc shuffled` one whose pixels have changed"
        " places; 0.5 is chance. `bits` is the most that the latent says of an image where that is known: the"
        " logarithm of the number of candidates, or the divergence of the noisy latent from its prior; `bits"
        " used` the entropy of the candidates chosen."
    )


def _named(value: Any) -> str:
    if isinstance(value, Enumeration):
        count, features = value.candidates.shape
        return f"Enumeration(torch.eye({count}))" if count > 1 else f"Enumeration(torch.zeros(1, {features}))"
    if isinstance(value, Variational):
        return f"Variational(beta={value.beta:g})"
    return repr(value) if isinstance(value, L1 | L2) else f"{type(value).__name__}()"


def draw(table: pd.DataFrame, examples: dict[str, Tensor], options: argparse.Namespace) -> None:
    """Reconstructions of digits and of impossible images, and how well the energy tells them apart."""
    import matplotlib.pyplot as plt  # of the extra `dev`

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), width_ratios=(1.6, 1), layout="constrained")
    rows = [
        torch.nn.functional.pad(row.unflatten(1, (SIDE, SIDE)), (1, 1, 1, 1), value=0.5) for row in examples.values()
    ]
    left.imshow(torch.cat([torch.cat(list(row), 1) for row in rows]), cmap="gray", vmin=0, vmax=1)
    left.set(xticks=[], yticks=[(SIDE + 2) * (row + 0.5) for row in range(len(rows))], yticklabels=list(examples))
    left.set_title("digits held out | halves of two digits, and their reconstructions")
    left.axvline(6 * (SIDE + 2) - 0.5, color="tab:red")
    names = list(dict.fromkeys(table["latent"]))
    groups = [table[table["latent"] == name]["auroc_halves"] for name in names]
    halves = [0.0 if len(group) < 2 else float(with_interval(group, ".6f").split(" ± ")[1]) for group in groups]
    right.barh(names, [group.mean() for group in groups], xerr=halves, capsize=4, color="tab:blue")
    right.invert_yaxis()
    right.set(
        xlim=(0.45, 1), xlabel="AUROC of the energy: digits against halves of two", title="mean and 95 % interval"
    )
    right.axvline(0.5, color="black", linewidth=0.8)
    figure.savefig(options.results / "latents.png", dpi=110)
    plt.close(figure)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, those of --quick filled in."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="splits and starts to repeat it with (default 3)")
    parser.add_argument("--epochs", type=int, default=30, help="of training (default 30)")
    parser.add_argument("--features", type=int, default=32, help="of the latent, and candidates (default 32)")
    parser.add_argument("--quick", action="store_true", help="one seed, one epoch, 8 features; nothing is written")
    return common_options(parser, arguments, "benchmarks/latents.py", RESULTS, {"seeds": 1, "epochs": 1, "features": 8})


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn, judge, write and print."""
    options = parsed(arguments)
    torch.set_num_threads(1)
    with threadpool_limits(1):
        table, examples = measure(options)
    print(write(table, examples, options))


if __name__ == "__main__":
    main()
