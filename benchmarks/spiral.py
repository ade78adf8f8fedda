"""What each regularizer leaves of a spiral: a page with the points, bars of nats, and nats and cost against dimensions.

    python benchmarks/spiral.py --results results    # what is missing of both studies in results/, then the page
    python benchmarks/spiral.py --quick              # to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/spiral.yaml` and of `spirals.yaml`, and may be made by it.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import yaml
from matplotlib.axes import Axes
from reporting import made_by, summary, with_interval, write_page
from rich.console import Console
from study_page import options_of_runs

from ebm.data import Spiral
from ebm.regularizers import BHEP, HSIC, DistanceCorrelation, RandomFeatureHSIC, SIGReg, SlicedWasserstein
from ebm.study.results import collect
from ebm.study.runner import run_study
from ebm.study.statistics import interval
from ebm.study.sweep import Study, load_study

HERE = Path(__file__).parent
STUDIES = [HERE / "studies" / name for name in ("spiral.yaml", "spirals.yaml")]
NOISE = {"points": 0.02, "network": 0.05}  # as in programs/spiral.py
START = {mover: Spiral(noise=noise).information for mover, noise in NOISE.items()}  # nats of a spiral
START_NEGENTROPY = Spiral(noise=NOISE["network"]).negentropy
GONE = 0.1  # nats below which a spiral counts as removed
COST = (2, 8, 32, 128)
TIMED = (SIGReg(), SlicedWasserstein(), BHEP(None), RandomFeatureHSIC(), HSIC(), DistanceCorrelation())
TABLES = {
    "points": {"pairs": ".3f", "displaced": ".3f", "moved": ".2f", "std": ".2f", "distance_correlation": ".4f"},
    "network": {"pairs": ".3f", "total": ".3f", "negentropy": ".3f", "moved": ".2f", "std": ".2f", "two_nn": ".2f"},
    "many": {"pairs": ".3f", "total": ".3f", "negentropy": ".3f", "moved": ".2f", "std": ".2f", "two_nn": ".1f"},
}


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row a run, with what was varied in columns of their own."""
    table = collect(study, results).table
    varied = [dict(part.split("=", 1) for part in name.split(", ")) for name in table["arm"]]
    arms = [named(parts["arm"]) for parts in varied]
    table = table.rename(columns=lambda name: name.rpartition("/")[2])
    return table.assign(
        arm=arms,
        mover=[parts.get("mover", "network") for parts in varied],
        dimensions=[int(parts.get("dimensions", 2)) for parts in varied],
        rotated=[parts.get("rotated", "false") == "true" for parts in varied],
    )


def named(arm: str) -> str:
    """What an arm's file calls it."""
    return str(yaml.safe_load((HERE.parent / arm).read_text())["name"])


def seconds(fn: torch.nn.Module, dimensions: int, count: int = 512, repeats: int = 3) -> float:
    """CPU time of a value and its slope, the least of some calls."""
    codes = torch.randn(count, dimensions, requires_grad=True)
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        torch.autograd.grad(fn(codes), codes)
        taken.append(time.process_time() - start)
    return min(taken)


def costs(dimensions: Sequence[int]) -> pd.DataFrame:
    """Milliseconds a step of each, on one core, by dimensions."""
    torch.set_num_threads(1)
    times = {type(fn).__name__: [1000 * seconds(fn, D) for D in dimensions] for fn in TIMED}
    return pd.DataFrame(times, index=pd.Index(dimensions, name="dimensions")).T


def codes_of(arm: str, mover: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The codes of the first seed and the points that they began as, made again unless they are kept in `folder`."""
    path = folder / f"{mover}_{Path(arm).stem}.npz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, str(HERE / "programs" / "spiral.py"), f"--arm={arm}", f"--mover={mover}"]
        subprocess.run([*program, f"--save={path}"], check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)
    with np.load(path) as kept:
        return kept["codes"], kept["start"]


def panel(axis: Axes, codes: np.ndarray, start: np.ndarray) -> None:
    """The codes, coloured by how far along the spiral they began."""
    shown = slice(None, 1024)
    axis.scatter(*codes[shown].T, s=1.5, c=np.hypot(*start[shown].T), cmap="viridis", linewidths=0)
    axis.set(xticks=[], yticks=[], xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")


def bars(axis: Axes, table: pd.DataFrame, column: str, title: str, start: float) -> None:
    """Means over seeds with 95 % intervals, and a line where it began."""
    groups = [(arm, interval(part[column])) for arm, part in table.groupby("arm", sort=False)]
    places, halves = np.arange(len(groups))[::-1], [found.half if found.n > 1 else 0 for _, found in groups]
    axis.barh(places, [found.mean for _, found in groups], xerr=halves, color="#4c78a8", error_kw={"lw": 0.8})
    axis.axvline(start, color="#d9480f", lw=1)
    axis.set_yticks(places, [arm for arm, _ in groups], fontsize=7)
    axis.set_title(title, fontsize=9)


def against(axis: Axes, table: pd.DataFrame, column: str, title: str) -> None:
    """Nats against dimensions, not rotated, a line for each arm of the study of many dimensions."""
    of_many = table[(table["mover"] == "network") & ~table["rotated"]]
    for arm in table.loc[table["dimensions"] > 2, "arm"].unique():
        means = of_many[of_many["arm"] == arm].groupby("dimensions")[column].mean()
        axis.plot(means.index, means, marker="o", ms=3, lw=1, label=arm)
    axis.axhline(START["network"], color="#d9480f", lw=0.8, ls="--")
    axis.set_xscale("log", base=2)
    axis.set_title(title, fontsize=9)
    axis.set_xlabel("dimensions", fontsize=8)


def draw(table: pd.DataFrame, cost: pd.DataFrame, kept: Path, path: Path) -> None:
    """Points above, then bars, then lines."""
    mpl.use("Agg")
    arms = load_arms()
    columns = -(-len(arms) // 2)
    figure = plt.figure(figsize=(1.45 * columns, 14), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=[4 * 1.5, 4, 3])
    grid = top.subplots(4, columns)
    for axis in grid.flat:
        axis.axis("off")
    for line, mover in ((0, "points"), (2, "network")):
        for i, arm in enumerate(arms):
            axis = grid[line + i // columns][i % columns]
            axis.axis("on")
            panel(axis, *codes_of(arm, mover, kept))
            axis.set_title(f"{named(arm)}\n({mover})", fontsize=7)
    flat = table[table["dimensions"] == 2]
    left, centre, right = middle.subplots(1, 3)
    bars(left, flat[flat["mover"] == "points"], "pairs", "free points: nats left", START["points"])
    bars(centre, flat[flat["mover"] == "network"], "pairs", "network: nats left, by neighbours", START["network"])
    bars(right, flat[flat["mover"] == "network"], "total", "network: nats left, by its Jacobian", START["network"])
    one, two, three = bottom.subplots(1, 3)
    against(one, table, "pairs", "network: nats left in the pairs")
    against(two, table, "total", "network: nats left in all, for each spiral")
    two.legend(fontsize=6)
    for name, line in cost.iterrows():
        three.plot(line.index, line, marker="o", ms=3, lw=1, label=name)
    three.set_xscale("log", base=2)
    three.set_yscale("log")
    three.set_title("CPU milliseconds a step, 512 codes", fontsize=9)
    three.legend(fontsize=6)
    figure.savefig(path, dpi=100)


def load_arms() -> list[str]:
    """The files of the arms, in the order of the study."""
    return list(yaml.safe_load(STUDIES[0].read_text())["parameters"]["arm"]["values"])


def answer(table: pd.DataFrame) -> str:
    """The first sentence."""
    flat, many = table[table["dimensions"] == 2], table[table["dimensions"] > 2]
    removed = {mover: below(flat[flat["mover"] == mover], "pairs", GONE) for mover in START}
    network = flat[flat["mover"] == "network"]
    least = network.groupby("arm")["total"].mean().sort_values()
    told = [f"{arm} {value:.2f}" for arm, value in least.head(3).items()]
    most = many.groupby(["arm", "dimensions", "rotated"])["negentropy"].mean()
    return (
        f"Of 512 free points in the plane a spiral is gone (below {GONE} of {START['points']:.2f} nats) after"
        f" {_listed(removed['points'])}; of a network's codes after {_listed(removed['network'])} (least total"
        f" correlation, of {START['network']:.2f}: {', '.join(told)}). In 8 and 32 dimensions no regularizer of the"
        f" study takes more than {START_NEGENTROPY - most.min():.2f} of the {START_NEGENTROPY:.2f} nats for each spiral"
        f" by which codes are not normal ({most.idxmin()[0]}, {most.idxmin()[1]} dimensions)."
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def below(table: pd.DataFrame, column: str, value: float) -> list[str]:
    """The arms whose mean is below a value."""
    means = table.groupby("arm", sort=False)[column].mean()
    return list(means.index[means < value])


def contradictions(table: pd.DataFrame) -> list[str]:
    """What was expected and did not come, each with the figures that say so."""
    many = table[(table["dimensions"] > 2) & ~table["rotated"]]
    hidden = [
        f"{arm} in {dimensions} dimensions: pairs {with_interval(part['pairs'], '.3f')}, all"
        f" {with_interval(part['total'], '.3f')}"
        for (arm, dimensions), part in many.groupby(["arm", "dimensions"], sort=False)
        if part["pairs"].mean() < GONE and part["total"].mean() > START["network"]
    ]
    points = table[table["mover"] == "points"]
    fooled = points.groupby("arm", sort=False)[["pairs", "displaced"]].mean()
    blurred = list(fooled.index[fooled["displaced"] < 2 * GONE])
    pairs = (
        "- *That statistics of pairs do it in many dimensions.* The network mixes the dimensions: no two depend on each"
        " other, and the total correlation of all is above the"
        f" {START['network']:.2f} nats that it began with. {'; '.join(hidden)}."
    )
    free = (
        "- *That free points show what a regularizer wants.* Had each point been moved as far at random, less than"
        f" {2 * GONE:.1f} nats would be left too of {_listed(blurred)} (`displaced`)."
    )
    return [
        "What contradicted the expectation:",
        *[pairs] * bool(hidden),
        *[free] * bool(blurred),
    ]


def text(table: pd.DataFrame, cost: pd.DataFrame) -> list[str]:
    """The tables."""
    flat, many = table[table["dimensions"] == 2], table[table["dimensions"] > 2]
    parts = [
        f"## In the plane: {mover}\n\n" + "\n".join(summary(flat[flat["mover"] == mover], ["arm"], TABLES[mover]))
        for mover in START
    ]
    lines = summary(many, ["dimensions", "rotated", "arm"], TABLES["many"])
    header = "| " + " | ".join(["regularizer", *map(str, cost.columns)]) + " |"
    ruled = "|" + " --- |" * (len(cost.columns) + 1)
    body = [f"| {name} | " + " | ".join(line) + " |" for name, line in cost.map("{:.1f}".format).iterrows()]
    return [
        *parts,
        "## In many dimensions: network\n\n" + "\n".join(lines),
        "\n".join(["## CPU milliseconds of a value and its slope, 512 codes", "", header, ruled, *body]),
    ]


def how(studies: Sequence[Study], table: pd.DataFrame) -> list[str]:
    """What was done."""
    missing = sum(len(study.runs) for study in studies) - len(table)
    return [
        *([f"**{missing} runs are not finished and not in here.**"] * (missing > 0)),
        f"Each regularizer alone, by Adam, {table['seed'].nunique()} seeds; means with half their 95 % t-intervals."
        " `pairs`: Kraskov's total correlation between the dimensions that had a spiral, the known rotation undone,"
        " mean over up to 8 spirals. It falls below 0 where points are spread more evenly than independent ones."
        " `displaced`: the same of the first points, each moved at random as far as the regularizer moved them"
        " (`moved`, root mean square). `total` and `negentropy`: from the Jacobian of the network and the"
        " closed form of the spiral, in nats for each spiral, too low where the network folds"
        " space over; a rotation changes the first and not the second, which is"
        f" {START_NEGENTROPY:.2f} at the start. `two nn`: intrinsic dimension."
        " Where a regularizer does not see scale, `Variance` stands beside it.",
        "![Points and network after each regularizer; nats left; nats and cost against dimensions](spiral.png)",
    ]


def write(studies: Sequence[Study], results: Path, out: Path, command: str) -> None:
    """The page, the rows and the picture."""
    table, cost = pd.concat([rows(study, results) for study in studies], ignore_index=True), costs(COST)
    out.mkdir(parents=True, exist_ok=True)
    draw(table, cost, results / "spiral_codes", out / "spiral.png")
    shown = ["arm", "mover", "dimensions", "rotated", "seed", *sorted({c for t in TABLES.values() for c in t})]
    table[shown].to_csv(out / "spiral.csv", index=False, float_format="%.6g")
    question = " ".join(study.question for study in studies)
    body = [answer(table), "\n".join(contradictions(table)), question, *how(studies, table), *text(table, cost)]
    write_page(out / "spiral.md", "The spiral", [*body, *made_by(command, ("torch", "numpy"))])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write."""
    parser = options_of_runs(__doc__)
    options = parser.parse_args(arguments)
    command = shlex.join(["python", "benchmarks/spiral.py", *(sys.argv[1:] if arguments is None else arguments)])
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            for path in STUDIES:
                study = load_study(path, ["--steps=2"], [0])
                study = replace(study, runs=study.runs[:1])
                run_study(study, Path(folder), options.workers, Console())
                print(rows(study, Path(folder)).to_string())
        return
    studies = [load_study(path) for path in STUDIES]
    for study in [] if options.as_it_stands else studies:
        run_study(study, options.results, options.workers, Console())
    write(studies, options.results, options.out, command)


if __name__ == "__main__":
    main()
