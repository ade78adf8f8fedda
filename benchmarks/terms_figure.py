"""The picture of `terms.py`: codes with parts switched off, and singular values of linear networks over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from programs.linear_dynamics import simulate

from ebm.study.statistics import interval

SHOWN = {
    "code/normalized_std": "normalised std of the code",
    "code/effective_rank": "effective rank of the code",
    "probe/linear": "linear probe",
}
NETWORKS = ((1, 0.1), (1, 2.0), (2, 0.1), (2, 2.0))  # layers, amplitude of the augmentation


def bars(axes: Sequence[Axes], table: pd.DataFrame, method: str) -> None:
    """A row for each arm of a method, a panel for each metric, with 95 % intervals over seeds."""
    arms = list(dict.fromkeys(table["arm"]))[::-1]
    for axis, (name, title) in zip(axes, SHOWN.items(), strict=True):
        found = [interval(table.loc[table["arm"] == arm, name]) for arm in arms]
        errors = np.nan_to_num([part.half for part in found])
        axis.errorbar([part.mean for part in found], range(len(arms)), xerr=errors, fmt="o", markersize=4, capsize=2)
        axis.set_yticks(range(len(arms)), arms, fontsize=6)
        axis.set_title(f"{method}: {title}", fontsize=8)
        axis.tick_params(axis="x", labelsize=7)
        axis.grid(axis="y", linewidth=0.3)
    axes[0].set_xlim(-0.03, 1.1)
    axes[1].set_xscale("log")
    for axis in axes[1:]:
        axis.set_yticklabels([])


def curves(axis: Axes, layers: int, amplitude: float, steps: int) -> None:
    """Singular values over time: as trained, by the flow, and for two layers by the equations of aligned ones."""
    paths = simulate(layers, amplitude, 0.3, steps, 0)
    axis.plot(paths.times, paths.flowed, color="#1971c2", linewidth=1)
    if paths.aligned is not None:
        axis.plot(paths.times, paths.aligned, color="#2f9e44", linewidth=0.8, linestyle="--")
    axis.plot(paths.times[::3], paths.trained[::3], ".", color="#e8590c", markersize=3)
    axis.set_yscale("log")
    axis.set_ylim(1e-4, 10)
    axis.set_title(f"{layers} linear layer{'s' * (layers > 1)}, augmentation {amplitude:g}", fontsize=8)
    axis.set_xlabel("time (rate x steps)", fontsize=7)
    axis.tick_params(labelsize=7)


def draw(table: pd.DataFrame, path: Path | None, steps: int) -> None:
    """Four methods from top to bottom, then four linear networks side by side."""
    mpl.use("Agg")
    methods = [(str(name), part) for name, part in table.groupby("method", sort=False)]
    heights = [part["arm"].nunique() + 3 for _, part in methods]
    figure = plt.figure(figsize=(13, 0.2 * sum(heights) + 3.6), layout="constrained")
    parts = figure.subfigures(len(methods) + 1, 1, height_ratios=[*heights, 16])
    for part, (method, rows) in zip(parts[:-1], methods, strict=True):
        bars(part.subplots(1, len(SHOWN)), rows, method)
    axes = parts[-1].subplots(1, len(NETWORKS), sharey=True)
    for axis, (layers, amplitude) in zip(axes, NETWORKS, strict=True):
        curves(axis, layers, amplitude, steps)
    axes[0].set_ylabel("singular values", fontsize=8)
    parts[-1].suptitle("orange: trained; blue: gradient flow; green: aligned layers", fontsize=8)
    if path is not None:
        figure.savefig(path, dpi=110)
    plt.close(figure)
