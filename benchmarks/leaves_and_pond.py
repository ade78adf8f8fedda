"""What models keep of a pond with leaves: a page with R2 of the ball by arm and leaves, and a film of what is imagined.

    python benchmarks/leaves_and_pond.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/leaves_and_pond.py --quick              # to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/leaves_and_pond.yaml`, and may be made by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from programs.leaves_and_pond import PIECE, PONDS, REPAIRED, REPAIRS, RIVALS, STEPS, Probe, imagined, pieces, trained
from reporting import made_by, summary, with_interval, write_page
from study_page import page

from ebm.study.results import collect
from ebm.study.statistics import interval
from ebm.study.sweep import Study

ARMS = {
    "jepa": "JEPA",
    "autoencoder": "autoencoder + dynamics",
    "pixels": "next pixels",
    "across": "negatives of all trajectories",
    "within": "negatives of the same trajectory",
    "actions": "JEPA, ball pushed",
    "inverse": "JEPA, ball pushed, inverse dynamics",
}
COLOURS = dict(zip(ARMS, ("#1971c2", "#f08c00", "#868e96", "#e64980", "#2f9e44", "#74c0fc", "#7048e8"), strict=True))
LEAVES = {
    "none": "no leaves",
    "independent": "independent",
    "drifting": "drifting",
    "static": "static",
    "bright": "independent, 16, 5 x as bright as the ball",
}
READINGS = {"ball_0": "ball now", "ball_3": "after 3 steps", "ball_6": "after 6 steps", "leaves": "leaves now"}
GOOD, BETTER, REPAIR = 0.85, 0.2, 0.9  # what was expected: see `answer`
FILM = {"pond": "independent", "width": 32, "episodes": 6, "steps": 8}


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row a model: its pond, width, seed, arm and readings."""
    table = collect(study, results).table
    names = [name for name in table.columns if name.split("/")[0] in ARMS]
    long = table.melt(["arm", "seed"], names, "name", "value").dropna()
    parts = long["name"].str.split("/", expand=True)
    point = long["arm"].str.extract(r"pond=(?P<pond>\w+), width=(?P<width>\d+)")
    long = long.drop(columns="arm").assign(pond=point["pond"], width=point["width"].astype(int))
    long = long.assign(model=parts[0], reading=parts[1])
    wide = long.pivot_table("value", ["pond", "width", "seed", "model"], "reading").reset_index()
    order = {"pond": list(LEAVES), "model": list(ARMS)}
    ranked = {name: wide[name].map(values.index) for name, values in order.items()}
    return wide.assign(**{f"{name}_rank": rank for name, rank in ranked.items()}).sort_values(
        ["pond_rank", "width", "model_rank", "seed"]
    )


def some(table: pd.DataFrame, pond: str, width: int, model: str, reading: str = "ball_3") -> pd.Series[float]:
    """One reading over the seeds."""
    part = table[(table["pond"] == pond) & (table["width"] == width) & (table["model"] == model)]
    return part.set_index("seed")[reading]


def told(values: pd.Series[float]) -> str:
    """Mean and interval."""
    return with_interval(values, ".2f")


def bars(axis: Axes, table: pd.DataFrame, groups: list[str], models: list[str], reading: str) -> None:
    """R2 of models over ponds, mean and 95 % interval, cut at 0 from below: no better than the mean."""
    for i, model in enumerate(models):
        part = table[table["model"] == model]
        found = [interval(part.loc[part["pond"] == pond, reading]) for pond in groups]
        places = np.arange(len(groups)) + (i - (len(models) - 1) / 2) * 0.8 / len(models)
        heights = np.array([max(0.0, one.mean) if one.n else 0.0 for one in found])
        halves = [one.half if one.n > 1 else 0.0 for one in found]
        low = np.minimum(halves, heights)
        high = np.minimum(halves, 1.05 - np.minimum(heights, 1.05))
        axis.bar(places, heights, 0.8 / len(models), color=COLOURS[model], label=ARMS[model])
        axis.errorbar(places, heights, [low, high], fmt="none", ecolor="black", elinewidth=0.8)
    axis.set_ylim(0, 1.05)
    axis.grid(axis="y", alpha=0.3)
    axis.set_xticks(range(len(groups)), [LEAVES[pond].replace(", ", ",\n", 1) for pond in groups], fontsize=7)


def draw(table: pd.DataFrame, path: Path) -> None:
    """A row for each width: rivals over ponds, now and imagined, then repairs where the leaves are static."""
    mpl.use("Agg")
    widths = sorted(table["width"].unique())
    ponds = [pond for pond in LEAVES if pond in set(table["pond"])]
    repairs = [pond for pond in REPAIRED if pond in ponds]
    figure, axes = plt.subplots(
        len(widths),
        4,
        figsize=(15, 3.2 * len(widths)),
        squeeze=False,
        layout="constrained",
        width_ratios=[3, 3, 1.4, 1.4],
    )
    for line, width in zip(axes, widths, strict=True):
        part = table[table["width"] == width]
        for axis, reading in zip(line[:2], ("ball_0", "ball_3"), strict=True):
            bars(axis, part, ponds, list(RIVALS), reading)
            axis.set_title(f"{width} features: R2 of the ball, {READINGS[reading].removeprefix('ball ')}", fontsize=9)
        for axis, reading in zip(line[2:], ("ball_0", "ball_3"), strict=True):
            bars(axis, part, repairs, ["jepa", *REPAIRS], reading)
            axis.set_title(READINGS[reading].removeprefix("ball "), fontsize=9)
    handles = {
        label: handle for axis in axes.flat for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def film(path: Path, steps: int = STEPS) -> None:
    """The pond beside what the first JEPA imagines of it, from the first frame on: the ball where a probe reads it."""
    mpl.use("Agg")
    world = PONDS[FILM["pond"]]
    model, _ = trained("jepa", world, FILM["width"], 0, steps)
    fitted = pieces(world, "train", FILM["steps"], 1, 1500)
    codes = imagined(model, fitted)
    probe = Probe(codes.flatten(0, 1), fitted.truth["ball"].flatten(0, 1), 1500)
    shown = pieces(world, "test", FILM["steps"], 2, FILM["episodes"])
    places, seen = probe(imagined(model, shown)), shown.seen[:, :, 1]
    grid = torch.arange(float(seen.shape[-1]))
    spots = [torch.exp(-0.5 * (places[..., i, None] - grid[: seen.shape[-2 + i]]).square()) for i in (0, 1)]
    draw_film(seen.numpy(), (spots[0][..., :, None] * spots[1][..., None, :]).numpy(), path)


def draw_film(seen: np.ndarray, made: np.ndarray, path: Path) -> None:
    """Both `(episodes, times, height, width)`, side by side, one episode after another."""
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 2.3), layout="constrained")
    images = [axis.imshow(seen[0, 0], cmap="gray", vmin=0, vmax=1) for axis in axes]
    for axis in axes:
        axis.set(xticks=[], yticks=[])
    times = seen.shape[1]

    def show(frame: int) -> list[mpl.artist.Artist]:
        episode, time = divmod(frame, times)
        images[0].set_data(seen[episode, time])
        images[1].set_data(made[episode, time])
        axes[0].set_title(f"pond {episode + 1}, frame {time}", fontsize=9)
        axes[1].set_title("what is kept of what is seen" if time == 0 else f"imagined, {time} steps on", fontsize=9)
        return [*images]

    FuncAnimation(figure, show, frames=seen.shape[0] * times).save(path, PillowWriter(fps=4), dpi=72)
    plt.close(figure)


def verdict(asked: Sequence[tuple[pd.Series[float], float]]) -> str:
    """Whether values are at least as large as they were expected to be: on the mean, and with their interval."""
    found = [(interval(values), least) for values, least in asked]
    if all(one.mean - one.half >= least for one, least in found):
        return "as expected"
    if all(one.mean >= least for one, least in found):
        return "as expected on the mean, though the interval of so few seeds reaches below"
    return "NOT as expected"


def answer(table: pd.DataFrame) -> list[str]:
    """Each expectation with the figures that bear it out, or do not."""
    lines = []
    for width in sorted(table["width"].unique()):
        jepa = some(table, "independent", width, "jepa")
        rival = some(table, "independent", width, "autoencoder")
        ahead = jepa - rival
        held = verdict([(jepa, GOOD), (ahead, BETTER)])
        lines.append(
            f"- **Independent leaves, {width} features: {held}.** Expected: R2"
            f" of the ball after 3 steps at least {GOOD}, and at least {BETTER} above the autoencoder. JEPA"
            f" {told(jepa)}, autoencoder {told(rival)}, difference {told(ahead)}; next pixels, which does not"
            f" remake what it sees either, {told(some(table, 'independent', width, 'pixels'))}."
        )
    return lines + [failure(table, width) for width in sorted(table["width"].unique())] + dominated(table)


def failure(table: pd.DataFrame, width: int) -> str:
    """Static leaves: what is lost, and what repairs it."""
    now = {model: some(table, "static", width, model, "ball_0") for model in ("jepa", *REPAIRS)}
    later = {model: some(table, "static", width, model) for model in now}
    leaves = some(table, "static", width, "jepa", "leaves")
    repaired = [ARMS[model] for model in REPAIRS if now[model].mean() >= REPAIR]
    each = "; ".join(f"{ARMS[model]} {told(now[model])} / {told(later[model])}" for model in REPAIRS)
    return (
        f"- **Static leaves, {width} features: JEPA keeps the leaves.** Nothing is easier to predict: R2 of leaves"
        f" {told(leaves)}, of the ball now / after 3 steps {told(now['jepa'])} / {told(later['jepa'])}. The"
        f" rivals: autoencoder {told(some(table, 'static', width, 'autoencoder', 'ball_0'))} now, next pixels"
        f" {told(some(table, 'static', width, 'pixels', 'ball_0'))}. What repairs it to {REPAIR} now, on the mean:"
        f" {', '.join(repaired) or 'nothing'}. {each}."
    )


def dominated(table: pd.DataFrame) -> list[str]:
    """Where leaves dominate the pixels."""
    parts = [
        f"{width} features: JEPA {told(some(table, 'bright', width, 'jepa', 'ball_0'))} now and"
        f" {told(some(table, 'bright', width, 'jepa'))} after 3 steps, next pixels"
        f" {told(some(table, 'bright', width, 'pixels', 'ball_0'))} and {told(some(table, 'bright', width, 'pixels'))},"
        f" autoencoder {told(some(table, 'bright', width, 'autoencoder', 'ball_0'))} and"
        f" {told(some(table, 'bright', width, 'autoencoder'))}"
        for width in sorted(table["width"].unique())
    ]
    return [
        "- **Where leaves dominate the loss of pixels**, the ball a fifth as bright as each of 16 leaves: "
        + "; ".join(parts)
        + "."
    ]


def contradictions(table: pd.DataFrame) -> list[str]:
    """What was expected and did not come."""
    lines = []
    for width in sorted(table["width"].unique()):
        jepa, pixels = (some(table, "independent", width, model) for model in ("jepa", "pixels"))
        if pixels.mean() > jepa.mean() - 0.05:
            lines.append(
                f"- *That whoever predicts pixels must keep the leaves.* Where independent leaves will be nobody can"
                f" tell, and their mean is no secret: with {width} features the ball is read from next pixels as well"
                f" as from JEPA, or better, {told(pixels)} against {told(jepa)}. What fails is to remake what is seen."
            )
        kept = some(table, "independent", width, "jepa", "leaves")
        if kept.mean() > 0.2:
            lines.append(
                f"- *That JEPA drops what cannot be predicted.* With {width} features it has room, which its variance"
                f" term fills: R2 of independent leaves {told(kept)}."
            )
        dim = some(table, "bright", width, "jepa")
        if dim.mean() < GOOD:
            lines.append(
                f"- *That JEPA can imagine what it sees where leaves dominate.* With {width} features it has lost the"
                f" ball after 3 steps: {told(dim)}."
            )
        pushed = some(table, "static", width, "actions", "ball_0")
        if pushed.mean() < REPAIR:
            lines.append(
                f"- *That actions alone repair it.* With {width} features R2 of a ball that is pushed, and whose model"
                f" is told how, is {told(pushed)} now."
            )
    return ["What contradicted the expectation:\n\n" + "\n".join(lines)] if lines else []


def how(study: Study, table: pd.DataFrame) -> list[str]:
    """What was done."""
    missing = len(study.runs) - len(table[["pond", "width", "seed"]].drop_duplicates())
    return [
        *([f"**{missing} runs are not finished and not in here.**"] * (missing > 0)),
        "A ball bounces on the left of a picture of 12 x 20 pixels, four leaves lie on its right. A model is shown the"
        " last two frames and predicts what comes. All have the same encoder (an MLP), the same residual transition and"
        f" the same {STEPS} steps of Adam on 5,000 trajectories: JEPA is `PushDown` of `WorldModel` with `Variance` and"
        " `Covariance`, the others `AutoencodingDynamics` and `NextObservation`. Pieces of trajectories have 4 steps,"
        f" and {PIECE['within']} where negatives are drawn from them: InfoNCE asks which time was predicted, among all"
        " of the batch, or among those of the same trajectory, which leaves that do not move cannot tell."
        f" {table['seed'].nunique()} seeds; means with half their 95 % t-intervals.",
        "R2 of the place of the ball is read by a small network that is fitted to the imagined codes of as many steps,"
        " on trajectories that no model was trained on; below 0 is worse than to guess the mean. `leaves` is R2 of the"
        " middle of all leaves: single ones have no name that a picture could tell.",
        "![R2 of the ball by arm and leaves](leaves_and_pond.png)",
        "![The pond, and where a JEPA imagines the ball, of which it sees the first frame alone](leaves_and_pond.gif)",
    ]


def tables(table: pd.DataFrame) -> list[str]:
    """All readings."""
    formats = {name: ".2f" for name in READINGS if name in table} | {"seconds": ".1f"}
    parts = []
    for pond, part in table.groupby("pond", sort=False):
        named = part.assign(arm=part["model"].map(ARMS))
        lines = summary(named, ["width", "arm"], formats)
        parts.append(f"## Leaves: {LEAVES[str(pond)]}\n\n" + "\n".join(lines))
    return parts


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the rows, the picture and the film; all tables as text."""
    table = rows(study, results)
    if out is None:
        return "\n\n".join(tables(table))
    out.mkdir(parents=True, exist_ok=True)
    draw(table, out / "leaves_and_pond.png")
    film(out / "leaves_and_pond.gif")
    shown = ["pond", "width", "model", "seed", *READINGS, "seconds"]
    table[shown].to_csv(out / "leaves_and_pond.csv", index=False, float_format="%.6g")
    body = ["\n".join(answer(table)), *contradictions(table), study.question, *how(study, table), *tables(table)]
    write_page(out / "leaves_and_pond.md", "Leaves and pond", [*body, *made_by(command, ("torch", "numpy"))])
    return "\n".join(answer(table))


if __name__ == "__main__":
    torch.set_num_threads(1)
    page(__doc__, "leaves_and_pond", write, ["--steps=2"], slice(0, 5, 4))
