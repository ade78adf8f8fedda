"""Phase diagrams of collapse: what becomes of the code of digits over two numbers of a method, 64 models a diagram.

    python benchmarks/phases.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/phases.py --quick              # half a minute, to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/phases.yaml`, and may be made by it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from programs.phases import DIAGRAMS, VERDICTS, Diagram
from reporting import made_by, write_page
from study_page import page

from ebm.study.results import collect
from ebm.study.sweep import Study

COLOURS = dict(
    zip(VERDICTS, ("#f1f3f5", "#7048e8", "#212529", "#e64980", "#f08c00", "#1971c2", "#2f9e44"), strict=True)
)
TITLES = {"vicreg": "VICReg", "simclr": "SimCLR", "lejepa": "LeJEPA"}
AXES = {
    "variance.weight": "weight of the variance",
    "covariance.weight": "weight of the covariance",
    "nt_xent.temperature": "temperature",
    "--data.batch_size": "batch size",
    "sigreg.weight": "weight of SIGReg",
    "--model.regularizers.sigreg.fn.init_args.slices": "directions",
}


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row a model: its diagram, seed, place in it and readings."""
    table = collect(study, results).table
    names = table.columns[table.columns.str.count("/") == 2]
    long = table.melt(["arm", "seed"], names, "name", "value").dropna()
    parts = long["name"].str.split("/", expand=True)
    long = long.assign(
        diagram=long["arm"].str.removeprefix("diagram="), reading=parts[0], across=parts[1], up=parts[2]
    ).astype({"across": float, "up": float})
    keys = ["diagram", "seed", "across", "up"]
    return long.pivot_table("value", keys, "reading").reset_index()


def grid(table: pd.DataFrame, diagram: Diagram, reading: str) -> np.ndarray:
    """A reading over a diagram, `(up, across)`: the mean over seeds, of verdicts the most frequent; NaN for none."""
    found = np.full((len(diagram.rows), len(diagram.columns)), np.nan)
    for (across, up), group in table.groupby(["across", "up"]):
        values = group[reading].dropna()
        value = Counter(values).most_common(1)[0][0] if reading == "verdict" else values.mean()
        found[diagram.rows.index(up), diagram.columns.index(across)] = value
    return found


def draw(table: pd.DataFrame, path: Path | None) -> None:
    """Of each diagram the verdict, the effective rank and the accuracy of a probe."""
    mpl.use("Agg")
    names = [name for name in DIAGRAMS if name in set(table["diagram"])]
    figure, axes = plt.subplots(len(names), 3, figsize=(13, 4.2 * len(names)), squeeze=False, layout="constrained")
    for line, name in zip(axes, names, strict=True):
        diagram, part = DIAGRAMS[name], table[table["diagram"] == name]
        verdicts = mpl.colors.ListedColormap(list(COLOURS.values()))
        shown = grid(part, diagram, "verdict")
        line[0].imshow(shown, origin="lower", cmap=verdicts, vmin=-0.5, vmax=len(VERDICTS) - 0.5, aspect="auto")
        for axis, reading, template in ((line[1], "effective_rank", "{:.1f}"), (line[2], "probe", "{:.0%}")):
            values = grid(part, diagram, reading)
            image = axis.imshow(values, origin="lower", cmap="viridis", aspect="auto")
            for (i, j), value in np.ndenumerate(values):
                colour = "black" if image.norm(value) > 0.6 else "white"
                axis.text(j, i, template.format(value), ha="center", va="center", fontsize=6.5, color=colour)
        for axis, title in zip(line, ("verdict", "effective rank of the code", "linear probe"), strict=True):
            label(axis, diagram, f"{TITLES[name]}: {title}")
    used = [kind for i, kind in enumerate(VERDICTS) if (table["verdict"] == i).any()]
    handles = [Patch(facecolor=COLOURS[kind], edgecolor="grey", label=kind) for kind in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(used), frameon=False)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    plt.close(figure)


def label(axis: Axes, diagram: Diagram, title: str) -> None:
    """The values of both axes."""
    axis.set_title(title, fontsize=10)
    axis.set_xticks(range(len(diagram.columns)), [f"{value:g}" for value in diagram.columns], fontsize=8)
    axis.set_yticks(range(len(diagram.rows)), [f"{value:g}" for value in diagram.rows], fontsize=8)
    axis.set_xlabel(AXES[diagram.across], fontsize=9)
    axis.set_ylabel(AXES[diagram.up], fontsize=9)


def counts(table: pd.DataFrame) -> list[str]:
    """A Markdown table: how many of the models of each diagram got each verdict, and where the probe reads best."""
    lines = ["| diagram | models | " + " | ".join(VERDICTS) + " | best probe, % | at |"]
    lines.append("| --- " * (len(VERDICTS) + 4) + "|")
    for name, part in table.groupby("diagram", sort=False):
        diagram = DIAGRAMS[str(name)]
        found = [str(int((part["verdict"] == i).sum())) for i in range(len(VERDICTS))]
        probes = grid(part, diagram, "probe")
        i, j = np.unravel_index(np.nanargmax(probes), probes.shape)
        place = f"{AXES[diagram.across]} {diagram.columns[j]:g}, {AXES[diagram.up]} {diagram.rows[i]:g}"
        cells = [TITLES[str(name)], str(len(part)), *found, f"{100 * probes[i, j]:.1f}", place]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def boundaries(table: pd.DataFrame) -> list[str]:
    """What holds along whole columns of each diagram, how far seeds agree, and what the probe reads on either side."""
    lines = []
    for name, part in table.groupby("diagram", sort=False):
        diagram = DIAGRAMS[str(name)]
        shown = grid(part, diagram, "verdict")
        point = [diagram.columns[j] for j, column in enumerate(shown.T) if (column == VERDICTS.index("complete")).all()]
        sound = [diagram.columns[j] for j, column in enumerate(shown.T) if (column == 0).any()]
        seeds, places = part["seed"].nunique(), part.groupby(["across", "up"])["verdict"]
        agree = f", which agree at {100 * places.nunique().eq(1).mean():.0f} % of the places" * (seeds > 1)
        healthy = part["verdict"] == 0
        means = [
            f"{100 * part.loc[rows, 'probe'].mean():.1f} %" if rows.any() else "no model"
            for rows in (healthy, ~healthy)
        ]
        lines.append(
            f"- **{TITLES[str(name)]}**, {seeds} seed{'s' * (seeds > 1)}{agree}. A point whatever the"
            f" {AXES[diagram.up]}: {AXES[diagram.across]} {_listed(point)}. Nothing collapsed somewhere in the column:"
            f" {_listed(sound)}. The probe reads {means[0]} where nothing collapsed and {means[1]} where something did."
        )
    return lines


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values) or "none"


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the rows and the picture where that is wanted; returns the tables to print."""
    table = rows(study, results)
    text = ["\n".join(counts(table)), "\n".join(boundaries(table))]
    draw(table, None if out is None else out / "phases.png")
    if out is not None:
        table.to_csv(out / "phases.csv", index=False, float_format="%.6g")
        write_page(
            out / "phases.md", "Phase diagrams of collapse", [*how(study, table), *text, *made_by(command, ("torch",))]
        )
    return "\n\n".join(text)


def how(study: Study, table: pd.DataFrame) -> list[str]:
    """What was done, in paragraphs."""
    missing = len(study.runs) - len(table.groupby(["diagram", "seed"]))
    return [
        study.question,
        *([f"**{missing} of the {len(study.runs)} runs are not finished and not in here.**"] * (missing > 0)),
        "![Verdict, effective rank and probe over three planes](phases.png)",
        "Every cell is a model of digits: 64-32-16 to a representation, 16-16-8 to a"
        " code, no batch normalisation, 600 steps, optimiser and views of the study of collapse. The 64 models of a"
        " diagram that differ in numbers of terms alone are trained at once (`ebm.vectorized`); those that differ in"
        " the batch or in the number of directions, a row at a time. All cells of one seed begin from the same weights,"
        " and those of a row see the same batches. The verdict is that of `ebm.meters.diagnose` on codes of held-out"
        " images, the most frequent over seeds; rank and probe (ridge regression on the representation) are means over"
        " seeds.",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write."""
    page(__doc__, "phases", write, ["--steps=2"], slice(0, 1), arguments)


if __name__ == "__main__":
    main()
