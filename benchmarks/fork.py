"""The fork in the road: a page with energies over the place of a car, what is imagined, and what a code remembers.

    python benchmarks/fork.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/fork.py --quick              # to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/fork.yaml`, and may be made by it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from reporting import made_by, summary, with_interval, write_page
from study_page import page

from ebm.study.results import collect
from ebm.study.statistics import interval
from ebm.study.sweep import Study
from ebm.worlds import Fork

HERE = Path(__file__).parent
SHOWN = ("deterministic", "two-way", "eight-way", "gaussian .02", "sparse", "free 32")  # in the picture
FROZEN, TRAINED = ("even", "frozen"), ("even", "joint")
ENERGIES = ("auroc/impossible", "auroc/average", "auroc/blend", "auroc/off_road", "auroc/too_far")
DRAWN = ("imagined/distance", "imagined/on_mode", "imagined/left", "latent/bits", "latent/probe")
TABLES = {
    "What the energy says": dict.fromkeys(ENERGIES, ".3f") | dict.fromkeys(("energy/true", "energy/average"), ".4f"),
    "What is imagined": dict.fromkeys(DRAWN, ".2f") | {"imagined/distance": ".3f", "train/seconds": ".1f"},
}
REMEMBERED = {"code/share": ".4f", "code/probe": ".3f", "latent/probe": ".3f", "imagined/on_mode": ".2f"}
REMEMBERED |= {"auroc/average": ".3f", "auroc/impossible": ".3f", "train/seconds": ".1f"}
BLUE, ORANGE, GREY = "#1971c2", "#d9480f", "#868e96"
Saved = Mapping[str, Mapping[str, np.ndarray]]


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row a run."""
    table = collect(study, results).table
    cases = table["arm"].str.rpartition("=")[2].str.split("/", expand=True)
    names = {column: column.removeprefix("code/") for column in table.columns if column.startswith("code/code/")}
    return table.rename(columns=names).assign(world=cases[0], code=cases[1], latent=cases[2])


def saved(folder: Path, latents: Sequence[str]) -> Saved:
    """Energies and imagined places of the first seed by latent, made again unless they are kept in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for latent in latents:
        path = folder / f"{latent}.npz"
        if not path.exists():
            program = [sys.executable, str(HERE / "programs" / "fork.py"), f"--case=even/frozen/{latent}"]
            subprocess.run([*program, f"--save={path}"], check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)
        with np.load(path) as kept:
            found[latent] = dict(kept)
    return found


def road(axis: Axes, title: str) -> None:
    """The road from above, in grey."""
    line = torch.linspace(-1, 1, 161)
    across, up = torch.meshgrid(line, line, indexing="xy")
    on = Fork().on_road(torch.stack([across, up], -1)).float()
    axis.contour(line, line, on, levels=[0.5], colors=GREY, linewidths=0.8)
    axis.set(xticks=[], yticks=[], xlim=(-1, 1), ylim=(-1, 1), aspect="equal")
    axis.set_title(title, fontsize=9)


def landscape(axis: Axes, kept: Mapping[str, np.ndarray], title: str) -> None:
    """The energy of a car anywhere in the future frame; where it is now, may be, and is imagined."""
    line = np.linspace(-1, 1, len(kept["landscape"]))
    axis.contourf(line, line, kept["landscape"].T, levels=np.linspace(0, 2.4, 25), cmap="viridis", extend="max")
    road(axis, title)
    futures, imagined = kept["futures"], kept["imagined"]
    axis.plot(*futures[0, 0], "^", color="white", markersize=6)
    axis.plot(*futures[-1].T, "o", color="white", markersize=9, fillstyle="none")
    axis.plot(*(imagined + np.random.default_rng(0).normal(0, 0.012, imagined.shape)).T, ".", color=ORANGE, ms=3)


def bars(axis: Axes, table: pd.DataFrame, by: str, columns: Mapping[str, str], title: str) -> None:
    """Means over seeds with 95 % intervals."""
    groups = list(table.groupby(by, sort=False))
    height = 0.8 / len(columns)
    for i, (column, colour) in enumerate(columns.items()):
        found = [interval(part[column]) for _, part in groups]
        places = -np.arange(len(groups)) - i * height
        halves = [one.half if one.n > 1 else 0 for one in found]
        axis.barh(places, [one.mean for one in found], height, xerr=halves, color=colour, error_kw={"lw": 0.8})
        axis.plot([], [], color=colour, lw=5, label=column)
    axis.set_yticks(-np.arange(len(groups)) - 0.4 + height / 2, [str(name) for name, _ in groups], fontsize=8)
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=7, loc="best")


def draw(table: pd.DataFrame, kept: Saved, path: Path) -> None:
    """Landscapes above, bars below."""
    mpl.use("Agg")
    figure = plt.figure(figsize=(14, 6.8), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.35))
    for axis, (latent, one) in zip(top.subplots(1, len(kept)), kept.items(), strict=True):
        landscape(axis, one, latent)
    left, centre, right = bottom.subplots(1, 3)
    frozen, trained = of(table, *FROZEN), trained_codes(table)
    columns = {"auroc/average": BLUE, "auroc/blend": ORANGE}
    bars(left, frozen, "latent", columns, "AUROC of the true future: midway car, blend of pictures")
    left.axvline(0.5, color="black", lw=0.8)
    left.set_xlim(0, 1)
    bars(centre, frozen, "latent", {"imagined/distance": BLUE}, "drawn z: distance from a future (1/4: midway)")
    centre.axvline(0.25, color="black", lw=0.8)
    bars(right, trained, "code", {"code/share": BLUE}, "trained code: share of its variance by the choice")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def film(kept: Saved, path: Path) -> None:
    """Two drives, and beside them, a draw of z for each frame, where each model imagines the car to be."""
    figure, axes = plt.subplots(1, len(kept) + 1, figsize=(1.9 * (len(kept) + 1), 2.3), layout="constrained")
    road(axes[0], "the world")
    for axis, latent in zip(axes[1:], kept, strict=True):
        road(axis, latent)
    futures = next(iter(kept.values()))["futures"]  # (steps, modes, 2)
    steps = len(futures)
    (car,) = axes[0].plot([], [], "o", color=BLUE, markersize=9)
    clouds = [axis.plot([], [], "o", color=ORANGE, markersize=7, alpha=0.35)[0] for axis in axes[1:]]

    def frame(i: int) -> list[mpl.artist.Artist]:
        car.set_data(*futures[i % steps, i // steps][:, None])
        for cloud, one in zip(clouds, kept.values(), strict=True):
            cloud.set_data(*one["imagined"][: i + 1].T)
        return [car, *clouds]

    FuncAnimation(figure, frame, 2 * steps).save(path, PillowWriter(fps=3), dpi=80)
    plt.close(figure)


def of(table: pd.DataFrame, world: str, code: str) -> pd.DataFrame:
    """The runs of one world and code."""
    return table[(table["world"] == world) & (table["code"] == code)]


def trained_codes(table: pd.DataFrame) -> pd.DataFrame:
    """The runs of encoders that were trained, with the frozen code to compare, two-way but for one deterministic."""
    some = table[(table["world"] == "even") & (table["code"] != "frozen 8")]
    some = some[(some["code"] != "frozen") | (some["latent"] == "two-way")]
    alone = some["latent"] == "deterministic"
    return some.assign(code=some["code"].where(~alone, some["code"] + ", no latent"))


def mean(table: pd.DataFrame, column: str, **where: str) -> str:
    """The mean over seeds of the one case that is meant, with its interval."""
    for key, value in where.items():
        table = table[table[key] == value]
    return with_interval(table[column], ".3f")


def answer(table: pd.DataFrame) -> list[str]:
    """The first sentences."""
    frozen = of(table, *FROZEN)
    told = {latent: mean(frozen, "auroc/average", latent=latent) for latent in ("deterministic", "two-way", "free 32")}
    away = {latent: mean(frozen, "imagined/distance", latent=latent) for latent in ("deterministic", "two-way")}
    trained = trained_codes(table).groupby("code")["code/share"].mean()
    kept = trained[trained > 0.1].sort_values(ascending=False)
    lost = trained[trained <= 0.1]
    slowest = frozen.groupby("latent")["train/seconds"].mean()
    return [
        "A model without a latent does not say that it does not know: it predicts the middle, and takes a car in the"
        " wall for likelier than what happened (AUROC of the true future against it"
        f" {told['deterministic']}; distance of the prediction from the nearest future {away['deterministic']}, where"
        f" 0.25 is midway). A latent of two values says so with one bit: AUROC {told['two-way']}, distance"
        f" {away['two-way']}. A free latent of 32 features explains everything, and so tells nothing:"
        f" {told['free 32']}. A model takes at most {slowest.max():.1f} s of CPU ({slowest.idxmax()}).",
        "**The trap.** An encoder that is trained with the predictor makes one code of both futures. The energy then"
        f" looks perfect (AUROC {mean(table, 'auroc/average', world='even', code='joint', latent='deterministic')}"
        " without any latent), for it has forgotten the question: the share of the code's variance that the choice"
        f" makes is {_listed(lost)}. It is kept by: {_listed(kept)}.",
    ]


def _listed(shares: pd.Series[float]) -> str:
    return "; ".join(f"{name} {share:.3f}" for name, share in shares.items()) or "none"


def contradictions(table: pd.DataFrame) -> list[str]:
    """What was expected and did not come, each with the figures that say so."""
    frozen = of(table, *FROZEN)
    blends = frozen.groupby("latent", sort=False)["auroc/blend"].mean()
    fooled = blends[(blends < 0.99) & ~blends.index.str.contains("deterministic|free")]
    finer = of(table, "even", "frozen 8")
    free = interval(frozen[frozen["latent"] == "free 32"]["auroc/average"]).mean
    lines = [
        "What contradicted the expectation, or qualifies it:",
        "- *That a deterministic model always prefers a car midway.* It depends on the code: with 8 principal"
        f" components in place of 4 the AUROC is {with_interval(finer['auroc/average'], '.3f')}, since the finer code"
        " of a car midway is farther from the mean of the codes. What it prefers in any linear code is the blend of"
        f" both pictures: {mean(frozen, 'auroc/blend', latent='deterministic')} and"
        f" {with_interval(finer['auroc/blend'], '.3f')}.",
    ]
    if len(fooled):
        listed = ", ".join(f"{name} {value:.2f}" for name, value in fooled.items())
        lines.append(
            "- *That a latent which is limited is enough.* A continuous one goes from one future to the other on a"
            f" path, and on the way the energy of the blend is low: AUROC against it {listed}."
        )
    if free > 0.65:
        lines.append(f"- *That a free latent of 32 features is below .65*: {free:.3f}.")
    codes = trained_codes(table).groupby("code", sort=False)[["code/share", "latent/probe"]].mean()
    astray = codes[(codes["code/share"] > 0.1) & (codes["latent/probe"] < 0.9)]["latent/probe"]
    return [
        *lines,
        "- *That a term on z is enough for the code to keep the choice.* If every value of z is to be used, it may be"
        f" used for what x tells already: a share of {mean(table, 'code/share', code='balanced')}. A decoder keeps it"
        f" where a probe finds it ({mean(table, 'code/probe', code='rebuilt')}), but small:"
        f" {mean(table, 'code/share', code='rebuilt')}.",
        *[f"- *That z takes the choice where the code has it*: accuracy of z {_listed(astray)}."] * bool(len(astray)),
    ]


def how(study: Study, table: pd.DataFrame) -> list[str]:
    """What was done."""
    missing = len(study.runs) - len(table)
    return [
        *([f"**{missing} runs are not finished and not in here.**"] * (missing > 0)),
        f"`{study.question}` A car (`ebm.worlds.Fork`) drives up to a junction and goes left or right. From its first"
        " two frames the code of the frame five steps later is predicted, `ebm.energies.LatentPredictive`, 500 steps of"
        " 128; only how the latent is limited differs, an argument of `FreeEnergy` each. The code: 4 principal"
        f" components of frames of a blurred camera. {table['seed'].nunique()} seeds; means with half their 95 %"
        " t-intervals. The columns: see `benchmarks/programs/fork.py`. Where all energies are near 0, an AUROC tells"
        " only what the search for z has left. Free latents hold the place itself, so that those of other drives put"
        " the car where it then was.",
        "![Energy of a car anywhere in the future frame by kind of latent; how well it tells; codes](fork.png)",
        "*Above, dark is low: the car is at the triangle, and will be in one of the circles; orange is where it is"
        " imagined for latents drawn at random. The same scale in all.*",
        "![The world, and beside it what each model imagines, a draw of z at a time](fork.gif)",
    ]


def text(table: pd.DataFrame) -> list[str]:
    """The tables."""
    frozen, others = of(table, *FROZEN), table[table["world"] != "even"]
    others = pd.concat([others, of(table, "even", "frozen 8").assign(world="even, 8 components")])
    parts = [f"## {title}\n\n" + "\n".join(summary(frozen, ["latent"], kinds)) for title, kinds in TABLES.items()]
    both = {"auroc/impossible": ".3f", "auroc/average": ".3f", "auroc/blend": ".3f"} | TABLES["What is imagined"]
    remembered = "\n".join(summary(trained_codes(table), ["code"], REMEMBERED))
    return [
        *parts,
        "## Other forks\n\nThree exits as likely each; two cars, of which each chooses; left with probability .7."
        " `left` is the share of the first future.\n\n" + "\n".join(summary(others, ["world", "latent"], both)),
        "## What a trained code remembers\n\nA latent of two values, and VICReg on the codes, unless told otherwise."
        " `joint`: derivatives reach the code of y. `on the way`: pairs from later on the way too. `told 2 %`: the"
        " driver's choice is recorded for 2 % of the drives (inverse dynamics). `rebuilt`: the frame is decoded from"
        " its code. `unpredicted`: what a prediction without a latent leaves must not vanish. `balanced`: every value"
        f" of z is to be used.\n\n{remembered}",
    ]


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the rows, the picture and the film where that is wanted; returns the tables to print."""
    table = rows(study, results)
    tables = "\n\n".join(text(table))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        kept = saved(results / "fork_places", SHOWN)
        draw(table, kept, out / "fork.png")
        film(kept, out / "fork.gif")
        columns = [name for name in table.columns if "/" in name]
        kinds = ["world", "code", "latent", "seed"]
        table[[*kinds, *columns]].to_csv(out / "fork.csv", index=False, float_format="%.6g")
        body = [*answer(table), "\n".join(contradictions(table)), *how(study, table), tables]
        write_page(out / "fork.md", "The fork in the road", [*body, *made_by(command, ("torch", "numpy"))])
    return tables


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write."""
    torch.set_num_threads(1)
    page(__doc__, "fork", write, ["--steps=4"], slice(None, None, 14), arguments)


if __name__ == "__main__":
    main()
