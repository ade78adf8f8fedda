"""Losses that fit a density, on four distributions of the plane: a table, and samples over the energies that they left.

    python benchmarks/density.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/density.py --quick              # a minute, to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/density.yaml`, and may be made by it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.axes import Axes
from reporting import made_by, summary, write_page
from study_page import page
from torch import Tensor

from ebm.meters.plane import Landscape, landscape, walk
from ebm.study.configuration import Run, build
from ebm.study.results import collect
from ebm.study.sweep import Study

METRICS = {"mmd": ".5f", "mmd_chains": ".5f", "nll": ".4g", "auroc_grid": ".3f", "seconds": ".0f"}
DRAWN = 600  # samples of a panel
NATS = 8.0  # below the highest density, where the shades end


def split(arm: str) -> tuple[str, str]:
    """The loss and the distribution, of the name that a study gives to a run of both."""
    loss, _, source = arm.partition(", data.source=")
    return loss, source.rpartition(".")[2]


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row a run."""
    table = collect(study, results).table.rename(columns=lambda name: name.removeprefix("code/"))
    losses, sources = zip(*map(split, table["arm"]), strict=True)
    return table.assign(loss=losses, data=sources)[["loss", "data", "seed", *METRICS, "steps"]]


def restored(run: Run, results: Path) -> tuple[Landscape, Tensor, Tensor]:
    """Of a finished run the energies, where chains end, and as many of the points held out."""
    parts = build(run)
    state = torch.load(run.folder(results).checkpoint, weights_only=True)["state_dict"]
    parts.learner.load_state_dict(state)
    parts.data.setup("fit")
    points = torch.cat([batch[0] for batch in parts.data.labelled("test")])
    hx, hy = parts.data.pairs(points)
    F = parts.learner.F.requires_grad_(False)
    return landscape(F, hx, hy), walk(F, hx, hy, DRAWN), hy[:DRAWN]


def panel(axis: Axes, over: Landscape, samples: Tensor) -> None:
    """Samples over the energy: dark where it is low, in steps of a nat."""
    energies = (over.energies - over.energies.min()).clamp_max(NATS)
    extent = (float(over.x[0]), float(over.x[-1]), float(over.y[0]), float(over.y[-1]))
    axis.imshow(energies.T, origin="lower", extent=extent, cmap="Blues_r", vmin=0, vmax=NATS, aspect="auto")
    axis.scatter(*samples.T, s=1.5, color="#d9480f", linewidths=0, alpha=0.7)


def draw(study: Study, results: Path, path: Path | None) -> None:
    """A row of panels for each distribution, of the data and of the first seed of each loss."""
    mpl.use("Agg")
    first = {split(run.arm): run for run in reversed(study.runs) if run.folder(results).state() == "finished"}
    losses = list(dict.fromkeys(split(run.arm)[0] for run in study.runs if split(run.arm) in first))
    sources = list(dict.fromkeys(split(run.arm)[1] for run in study.runs if split(run.arm) in first))
    size = (1.6 * (len(losses) + 1), 1.6 * len(sources) + 0.5)
    figure, grid = plt.subplots(len(sources), len(losses) + 1, figsize=size, squeeze=False, layout="constrained")
    for line, source in zip(grid, sources, strict=True):
        line[0].set_ylabel(source)
        for axis, loss in zip(line[1:], losses, strict=True):
            if (loss, source) in first:
                over, samples, points = restored(first[loss, source], results)
                panel(axis, over, samples)
        line[0].scatter(*points.T, s=1.5, color="#333333", linewidths=0)
        low, high = points.amin(0), points.amax(0)
        (left, bottom), (right, top) = low - 0.2 * (high - low), high + 0.2 * (high - low)
        for axis in line:
            axis.set(xlim=(left, right), ylim=(bottom, top))
    for axis, title in zip(grid[0], ["data", *losses], strict=True):
        axis.set_title(textwrap.fill(title, 16), fontsize=9)
    for axis in grid.flat:
        axis.set(xticks=[], yticks=[])
    if path is not None:
        figure.savefig(path, dpi=110)
    plt.close(figure)


def how(study: Study, table: pd.DataFrame) -> list[str]:
    """What was done, in paragraphs."""
    steps, seeds = table["steps"].max(), table["seed"].nunique()
    missing = len(study.runs) - len(table)
    return [
        study.question,
        *(
            [f"**{missing} of the {len(study.runs)} runs of the study are not finished and not in here.**"]
            * (missing > 0)
        ),
        f"{steps:,} steps of Adam on batches of 256 of 8,192 points, one network for all, {seeds} seeds;"
        " means with half their 95 % t-intervals. Rates and settings were chosen on two moons, seeds 0 and 1. `mmd` is"
        " the squared MMD between the density and 4,000 points held out, Gaussian kernel of bandwidth 0.3, without"
        " bias, so that 0 is best and it may be below: the density is normalised by summing over a grid, and no"
        " sampler has a"
        " part in it. `mmd chains` is that of 2,000 points where 500 steps of Metropolis-adjusted Langevin lead from"
        " the standard normal distribution. `nll` is minus the mean log-density of the held-out points, in nats. `auroc"
        " grid` says how often a place of the grid has more energy than a held-out point, `seconds` how long training"
        " took, which depends on what else the machine did.",
        "ebmkit 0.16.0 publishes on two moons, with the same network, batches, kernel and number of points, after 6,000"
        " steps and from one seed: 0.0010 for CD-60 from noise, 0.0013 for persistent CD-60, 0.0016 for NCE and 0.0072"
        " for sliced score matching (`examples/benchmark_losses.py`).",
        "![Samples over the energies that the losses left, of the first seed](density.png)",
        "Blue: the energy, darkest where it is lowest, white from 8 nats above that. Orange: where chains end.",
    ]


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the rows and the picture where that is wanted; returns the tables to print."""
    table = rows(study, results)
    text = [
        f"## {source}\n\n" + "\n".join(summary(part, ["loss"], METRICS))
        for source, part in table.groupby("data", sort=False)
    ]
    draw(study, results, None if out is None else out / "density.png")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(out / "density.csv", index=False, float_format="%.8g")
        write_page(
            out / "density.md",
            "Losses that fit a density",
            [*how(study, table), *text, *made_by(command, ("torch", "numpy"))],
        )
    return "\n\n".join(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write."""
    # Of the quick ones, those of one of the four distributions.
    page(__doc__, "density", write, ["--trainer.max_steps=3"], slice(None, None, 4), arguments)


if __name__ == "__main__":
    main()
