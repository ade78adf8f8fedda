"""What the benchmark of sparse coding writes: a table, a page and a figure."""

from __future__ import annotations

import argparse
import math
from typing import Any

import pandas as pd
import torch
from reporting import made_by, summary, write_page
from torch import Tensor

from ebm.study.statistics import interval

REFERENCE = "scikit-learn, same start"
FORMATS = {
    "energy": ".5f",
    "energy_trained": ".5f",
    "explained": ".3f",
    "nonzero": ".4f",
    "used": ".2f",
    "cpu_seconds": ".2f",
}

OVERTAKING = {
    "reached": ".2f",
    "seconds": ".2f",
    "times_quicker": ".1f",
    "energy_lower_by": ".5f",
    "energy_trained_lower_by": ".5f",
}


def write(table: pd.DataFrame, shown: Tensor, options: argparse.Namespace) -> str:
    """Write what was measured where that is wanted, and return the tables to print."""
    last = table[table["passes"] == table["passes"].max()]
    ends = "\n".join(summary(last, ["atoms", "method"], FORMATS))
    overtakes = "\n".join(summary(overtaking(table), ["atoms", "method"], OVERTAKING))
    if options.results is not None:
        options.results.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.results / "sparse_coding.csv", index=False, float_format="%.8g")
        picture = "![Atoms, and what they are worth](sparse_coding.png)"
        paragraphs = [
            how(options),
            picture,
            ends,
            overtaken(options),
            overtakes,
            *made_by(options.command, ("torch", "scikit-learn", "numpy")),
        ]
        write_page(options.results / "sparse_coding.md", "Sparse coding of patches of photographs", paragraphs)
        draw(table, shown, options)
    return f"{ends}\n\n{overtakes}"


def overtaking(table: pd.DataFrame) -> pd.DataFrame:
    """For each run, how far below the energies at which the reference ends it ends, and when it gets there.

    `seconds` is the end of the first pass with no more energy on patches held out than the reference has after its
    last; NaN, as `times_quicker` is, if there is none.
    """
    rows = []
    for (atoms, seed), runs in table.groupby(["atoms", "seed"], sort=False):
        end = runs[runs["method"] == REFERENCE].iloc[-1]
        for method, run in runs.groupby("method", sort=False):
            there = run[run["energy"] <= end["energy"]]["cpu_seconds"].min()
            row = {"atoms": atoms, "seed": seed, "method": method, "reached": float(there > 0), "seconds": there}
            row |= {f"{name}_lower_by": end[name] - run[name].iloc[-1] for name in ("energy", "energy_trained")}
            rows.append(row | {"times_quicker": end["cpu_seconds"] / there})
    return pd.DataFrame(rows)


def how(options: argparse.Namespace) -> str:
    """What was measured."""
    return (
        f"Patches of {options.side} x {options.side} pixels of scikit-learn's two photographs, grey, flat ones"
        f" left out, whitened, of length 1: {options.patches} to train on, {max(options.patches // 10, 100)} held"
        " out. The photographs are cut into tiles, of which a quarter is held out, so that patches do not"
        f" overlap. All methods minimise `|y - atoms z|^2 / 2 + {options.strength} |z|_1` over codes z and over"
        f" atoms no longer than 1, in {options.passes} passes. To judge them, codes are solved to a slope of 1e-5"
        " in float64 by one solver, whoever learned the atoms. `energy` is the mean of that objective on patches"
        " held out (0.5 without a code), `energy trained` on as many of those trained on, `explained` the share"
        " of the squares of patches held out that reconstructions explain, `nonzero` the share of their"
        " coefficients that are not zero, `used` that of atoms that any of them uses, `cpu seconds` the time of"
        f" training on one thread. Means and 95 % t-intervals over {options.seeds} seeds, each with its own"
        " patches, start and order.\n\n"
        "- `ebm`: `FreeEnergy(SparseCoding, ProximalGradient, penalty=L1)` pushed down by SGD with momentum.\n"
        "- `ebm, block coordinates`: the same inference; atoms move as scikit-learn's do; both in float32,"
        " by batches of 512, with codes to a slope of 0.02.\n"
        "- `scikit-learn`: its MiniBatchDictionaryLearning with its own start, singular vectors; codes by coordinate"
        " descent, which takes a fraction of the time of its default, LARS, to the same codes; in float64, in which"
        " it is quicker, by batches of 256, its default, which ends lower than larger ones do.\n"
        "- `scikit-learn, same start`: the same, from the patches that both of ours start from."
    )


def overtaken(options: argparse.Namespace) -> str:
    """What the second table is."""
    return (
        f"Against `{REFERENCE}` after {options.passes} passes, seed by seed: the share of seeds in which a method"
        " reaches its energy on patches held out; the CPU seconds at the end of the first pass that does; how"
        " many times less than its own that is; and how much lower the energies end."
    )


def draw(table: pd.DataFrame, shown: Tensor, options: argparse.Namespace) -> None:
    """The atoms, and energies against their number and against time."""
    import matplotlib.pyplot as plt  # of the extra `dev`

    figure, axes = plt.subplots(1, 4, figsize=(19, 4.6), width_ratios=(1.7, 1, 1, 1), layout="constrained")
    axes[0].imshow(mosaic(shown, options.side), cmap="gray", vmin=-1, vmax=1)
    axes[0].set(title=f"{shown.shape[1]} atoms learned by ebm, most used first", xticks=[], yticks=[])
    last = table[table["passes"] == table["passes"].max()]
    _against_atoms(axes[1], last, "energy", "energy held out")
    _against_atoms(axes[2], last, "explained", "share of the variance explained")
    most = table[table["atoms"] == table["atoms"].max()]
    for method, runs in most.groupby("method", sort=False):
        mean = runs.groupby("passes")[["cpu_seconds", "energy"]].mean()
        axes[3].plot(mean["cpu_seconds"], mean["energy"], marker="o", label=method)
    axes[3].set(
        xscale="log",
        xlabel="CPU seconds of training",
        ylabel="energy held out",
        title=f"{most['atoms'].iloc[0]} atoms, pass by pass",
    )
    axes[1].legend()
    figure.savefig(options.results / "sparse_coding.png", dpi=110)
    plt.close(figure)


def _against_atoms(axis: Any, last: pd.DataFrame, metric: str, label: str) -> None:
    for method, runs in last.groupby("method", sort=False):
        found = {count: interval(group[metric]) for count, group in runs.groupby("atoms")}
        errors = [0 if math.isnan(each.half) else each.half for each in found.values()]
        axis.errorbar(list(found), [each.mean for each in found.values()], errors, marker="o", capsize=3, label=method)
    axis.set(xscale="log", xlabel="atoms", ylabel=label, xticks=list(found), xticklabels=list(found))
    axis.minorticks_off()


def mosaic(atoms: Tensor, side: int) -> Tensor:
    """A picture of atoms `(side^2, K)` in rows, each at its own contrast."""
    count = atoms.shape[1]
    columns = math.ceil(math.sqrt(2 * count))
    tiles = torch.ones(math.ceil(count / columns) * columns, side + 2, side + 2)
    scaled = atoms / atoms.abs().amax(0)
    tiles[:count, 1:-1, 1:-1] = scaled.T.reshape(count, side, side).float()
    return tiles.unflatten(0, (-1, columns)).transpose(1, 2).flatten(2).flatten(0, 1)
