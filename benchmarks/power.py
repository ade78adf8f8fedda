"""Which statistic of codes sees dependence between their dimensions: tables of power, and a picture of them.

    python benchmarks/power.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/power.py --quick              # half a minute, to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/power.yaml`, and may be made by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from power_text import answer, contradictions, how
from programs.power import DIMENSIONS, LATENTS, PLANE, ROWS, SIZES, STATISTICS, draws
from reporting import made_by, with_interval, write_page
from scipy.stats import binomtest
from study_page import page

from ebm.study.results import collect
from ebm.study.sweep import Study

SPIRALS = [f"{kind}_{d}" for kind in ("spirals", "rotated") for d in DIMENSIONS]
SURFACES = [f"thin_{count}" for count in LATENTS]
SURFACE_TABLE = (
    "Means over seeds with half their 95 % t-intervals; in brackets the share of samples that the statistic tells from"
    " N(0, I). The covariance of all is the identity."
)
QUICK = ["--sizes", "256", "--dimensions", "2", "--latents", "1"]


def columns_of(name: str) -> int:
    """Of the codes of a distribution."""
    if name in SPIRALS:
        return int(name.rpartition("_")[2])
    return {"parity": 3}.get(name, 64 if name in SURFACES else 2)


def shares(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each statistic, null, distribution and size: the share over all seeds and its Wilson interval."""
    rows = []
    for name, group in runs.groupby("statistic", sort=False):
        slow = STATISTICS[str(name)].slow
        for metric in (column for column in runs if column.startswith(("power/", "normality/"))):
            null, distribution, size = metric.split("/")
            found = group[metric].dropna()
            if not len(found):
                continue
            each = draws(int(size) * columns_of(distribution), slow).alternatives
            beyond = round(each * found.sum())
            test = binomtest(beyond, each * len(found)).proportion_ci(method="wilson")
            kind = "permuted" if null == "power" else "normal"
            rows.append((name, kind, distribution, int(size), beyond / (each * len(found)), *test, each * len(found)))
    return pd.DataFrame(rows, columns=["statistic", "null", "distribution", "rows", "share", "low", "high", "samples"])


def grid(found: pd.DataFrame, null: str, rows: int, names: Sequence[str]) -> pd.DataFrame:
    """Statistics by distributions, the rows of `shares` that are asked for."""
    part = found[(found["null"] == null) & (found["rows"] == rows) & found["distribution"].isin(names)]
    wide = part.pivot(index="statistic", columns="distribution", values="share")
    order = [name for name in STATISTICS if name in wide.index]
    return wide.reindex(index=order, columns=[name for name in names if name in wide])


def table(found: pd.DataFrame, null: str, rows: int, names: Sequence[str], times: pd.DataFrame) -> str:
    """A Markdown table of shares, each with its interval in small print, and of milliseconds."""
    part = found[(found["null"] == null) & (found["rows"] == rows) & found["distribution"].isin(names)]
    cells = {(row.statistic, row.distribution): _cell(row.share, row.low, row.high) for row in part.itertuples()}
    there = [name for name in names if name in set(part["distribution"])]
    heads = ["statistic", *(name.replace("_", " ") for name in there), *times.columns]
    lines = [heads, ["---"] * len(heads)]
    for statistic in dict.fromkeys(part["statistic"]):
        row = [cells.get((statistic, name), "") for name in there]
        lines.append([f"`{statistic}`", *row, *(format(taken, ".3g") for taken in times.loc[statistic])])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(share: float, low: float, high: float) -> str:
    return f"{share:.2f} <sub>{low:.2f} to {high:.2f}</sub>"


def readings(runs: pd.DataFrame, found: pd.DataFrame) -> str:
    """A Markdown table of what is read off normal codes and thin surfaces, means over seeds, with power in brackets."""
    names = [name for name in ("normal_64", *SURFACES) if f"reading/{name}" in runs]
    lines = [["statistic", "N(0, I)", *(f"{count} latents" for count in LATENTS)][: len(names) + 1]]
    lines.append(["---"] * (len(names) + 1))
    normal = found[(found["null"] == "normal") & (found["rows"] == ROWS)].set_index(["statistic", "distribution"])
    for statistic, group in runs.groupby("statistic", sort=False):
        cells = []
        for name in names:
            cell = with_interval(group[f"reading/{name}"], ".4g")
            seen = f" ({normal['share'][statistic, name]:.2f})" if (statistic, name) in normal.index else ""
            cells.append(cell + seen)
        lines.append([f"`{statistic}`", *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(found: pd.DataFrame, path: Path | None) -> None:
    """Shares of all statistics as shades: the plane with its codes drawn above, and spirals and surfaces beside it."""
    mpl.use("Agg")
    sizes = set(found["rows"][found["distribution"].isin(PLANE)])
    rows = ROWS if ROWS in sizes else max(sizes)
    plane, spirals = grid(found, "permuted", rows, list(PLANE)), grid(found, "permuted", ROWS, SPIRALS)
    parts = [plane, spirals, grid(found, "normal", ROWS, SURFACES)]
    widths, height = [part.shape[1] for part in parts], 0.24 * len(plane)
    size = (0.62 * sum(widths) + 2.2, height + 2.4)
    figure, axes = plt.subplots(1, 3, figsize=size, width_ratios=widths, layout="constrained")
    titles = (f"spirals between pairs of D, N = {ROWS:,}", "surfaces in 64,\nagainst N(0, I)")
    for axis, part, title in zip(axes, parts, (f"the plane, N = {rows:,}", *titles), strict=True):
        _shades(axis, part.reindex(plane.index), names=axis is axes[0])
        axis.set_title(title, fontsize=9, y=1 + (0.7 if axis is axes[0] else 0) / height)
    for place, name in enumerate(plane.columns):
        wide = 1 / len(plane.columns)
        _sample(axes[0].inset_axes((place * wide, 1.02, wide, 0.6 / height)), name)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110, bbox_inches="tight")  # with the samples above
    plt.close(figure)


def _sample(axis: Axes, name: str) -> None:
    codes = PLANE[name].draw(600, np.random.default_rng(0))[0]
    colours = codes[:, 2] if name == "parity" else np.zeros(len(codes))
    axis.scatter(codes[:, 0], codes[:, 1], s=0.6, c=colours, cmap="copper", linewidths=0)
    axis.set(xticks=[], yticks=[], xlim=(-2.8, 2.8), ylim=(-2.8, 2.8))


def _shades(axis: Axes, part: pd.DataFrame, names: bool) -> None:
    axis.imshow(part, cmap="Blues", vmin=0, vmax=1.3, aspect="auto")
    for (line, column), value in np.ndenumerate(part.to_numpy()):
        if np.isfinite(value):
            axis.text(column, line, f"{value:.2f}".removeprefix("0"), ha="center", va="center", fontsize=7)
    labels = [name.replace("_", " ") for name in part.columns]
    axis.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=8)
    axis.set_yticks(range(len(part)), part.index if names else [], fontsize=8)


def milliseconds(runs: pd.DataFrame, clocks: dict[str, str]) -> pd.DataFrame:
    """The median over seeds, by statistic, under the names that the table gives them."""
    names = {f"milliseconds/{clock}": name for clock, name in clocks.items() if f"milliseconds/{clock}" in runs}
    return runs.groupby("statistic")[list(names)].median().rename(columns=names)


def sections(runs: pd.DataFrame, found: pd.DataFrame) -> list[str]:
    """The tables, each under its heading."""
    text = []
    for rows in SIZES:
        if f"milliseconds/{rows}" in runs:
            times = milliseconds(runs, {str(rows): "ms"})
            text += [f"## {rows:,} codes, against permuted columns", table(found, "permuted", rows, list(PLANE), times)]
    times = milliseconds(runs, {str(ROWS): "ms"})
    text += [f"## {ROWS:,} codes, against N(0, I)", table(found, "normal", ROWS, list(PLANE), times)]
    times = milliseconds(runs, {f"in_{d}": f"ms, D = {d}" for d in DIMENSIONS})
    text += ["## Spirals between pairs of dimensions", table(found, "permuted", ROWS, SPIRALS, times)]
    text += ["## The same against N(0, I)", table(found, "normal", ROWS, SPIRALS, times)]
    text += ["## Thin surfaces in 64 dimensions", SURFACE_TABLE, readings(runs, found)]
    return text


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the shares and the picture where that is wanted; returns the tables to print."""
    runs = collect(study, results).table
    runs = runs.assign(statistic=[arm.partition("statistic=")[2] for arm in runs["arm"]])
    found = shares(runs)
    text = sections(runs, found)
    draw(found, None if out is None else out / "power.png")
    if out is not None:
        found.to_csv(out / "power.csv", index=False, float_format="%.6g")
        missing = len(study.runs) - len(runs)
        said = [*answer(found), *how(study, runs, missing), *contradictions(found)]
        with_what = made_by(command, ("torch", "numpy", "scipy", "scikit-learn"))
        write_page(out / "power.md", "Which statistic sees dependence", [*said, *text, *with_what])
    return "\n\n".join(text)


if __name__ == "__main__":
    page(__doc__, "power", write, QUICK, slice(2))
