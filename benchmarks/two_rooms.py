"""Planning through a learned model in two rooms, past a hazard too: a page with tables, a figure and a film.

    python benchmarks/two_rooms.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/two_rooms.py --quick              # to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/two_rooms.yaml`, and may be made by it. The energies and
the film that are drawn are of the first seed, made again unless they are kept in the results.
"""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from reporting import made_by, write_page
from statsmodels.stats.proportion import proportion_confint
from study_page import page
from two_rooms_figures import draw, film

from ebm.study.results import collect
from ebm.study.sweep import Study
from ebm.worlds import TwoRooms

HERE = Path(__file__).parent
EPISODES, STARTS, OVER_THE_DOOR = 64, 2000, (0.5, 0.3, 0.16)  # as in programs/two_rooms.py and its guardrails
QUICK = ("--steps=20", "--walks=50", "--episodes=2", "--agents=random,gd_2x10_h16,guard_hard_0.9")
REFERENCES = {
    "random": "uniform actions (floor)",
    "greedy": "straight at the goal, position known",
    "oracle_straight": "true dynamics, distance as the crow flies",
    "oracle_geodesic": "true dynamics, distance through the door (ceiling)",
    "cloning": "goal-conditioned cloning of the same walks",
}
FAMILIES = {
    "gd": "gradient descent (Adam)",
    "lbfgs": "L-BFGS",
    "cem": "cross-entropy",
    "icem": "iCEM",
    "mppi": "MPPI",
    "collocation": "collocation (L-BFGS)",
}
GUARDS = {
    "guard_none": "none",
    "guard_soft_100": "soft, weight 100",
    "guard_soft_100_0.99": "soft, weight 100, margin at .99",
    "guard_hard": "hard",
    "guard_hard_0.9": "hard, margin at .9",
    "guard_hard_0.99": "hard, margin at .99",
    "covered_hard": "hard, margin at .99, and the hazard covers the door",
}


def by_agent(study: Study, results: Path) -> pd.DataFrame:
    """One row for each agent and seed."""
    table = collect(study, results).table
    names = [name for name in table.columns if "/" in name]
    long = table.melt(["seed"], names, "name", "value").dropna()
    long[["agent", "metric"]] = long["name"].str.split("/", n=1, expand=True)
    # Both parts of a seed train the same model, and tell of it.
    wide = long.pivot_table("value", ["agent", "seed"], "metric").reset_index()
    return wide.sort_values(["agent", "seed"])


def label(agent: str) -> str:
    """What a row is called."""
    if agent in REFERENCES | GUARDS:
        return (REFERENCES | GUARDS)[agent]
    family, budget, horizon = agent.split("_")
    return f"{FAMILIES[family]}, {budget.replace('x', ' x ')}, horizon {horizon[1:]}"


def share(values: pd.Series[float]) -> str:
    """Share over all episodes of all seeds, with its Wilson interval."""
    total = EPISODES * len(values)
    low, high = proportion_confint(round(values.sum() * EPISODES), total, 0.05, "wilson")
    return f"{values.mean():.2f} ({low:.2f}-{high:.2f})"


def rows(table: pd.DataFrame, agents: list[str], shown: dict[str, str]) -> list[str]:
    """A Markdown table of agents: shares with their intervals, and means over seeds."""
    header = ["agent", "reached", "by seed", "there at the end", *shown]
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    for agent in agents:
        part = table[table["agent"] == agent]
        seeds = " ".join(f"{value:.2f}" for value in part["ever"])
        means = [_format(name, part, template) for name, template in shown.items()]
        lines.append("| " + " | ".join([label(agent), share(part["ever"]), seeds, share(part["end"]), *means]) + " |")
    return lines


def _format(name: str, part: pd.DataFrame, template: str) -> str:
    """A mean over seeds, or a share of episodes with its interval."""
    if name == "violated":
        return share(part[name])
    value = part[name.replace(" ", "_")].mean() if name.replace(" ", "_") in part else math.nan
    return "" if math.isnan(value) else format(value, template)


def mean(table: pd.DataFrame, agent: str, metric: str = "ever") -> float:
    """Over seeds."""
    return float(table.loc[table["agent"] == agent, metric].mean())


def within(table: pd.DataFrame, family: str, ms: float) -> str:
    """The budget of a family that reaches the goal most often in at most so many milliseconds, or the cheapest."""
    names = [name for name in table["agent"].unique() if name.startswith(f"{family}_")]
    cheapest = min(names, key=lambda name: mean(table, name, "ms"))
    affordable = [name for name in names if mean(table, name, "ms") <= ms]
    return max(affordable, key=lambda name: mean(table, name), default=cheapest)


def answer(table: pd.DataFrame) -> str:
    """The first sentence."""
    best = within(table, "gd", math.inf)
    cheap = "gd_4x10_h16"
    rivals = {family: within(table, family, mean(table, best, "ms")) for family in ("cem", "icem", "mppi")}
    told = "; ".join(
        f"{FAMILIES[family]} {mean(table, name):.2f} at {mean(table, name, 'ms'):.1f} ms"
        for family, name in rivals.items()
    )
    return (
        f"Gradient descent through the learned model reaches the goal in {mean(table, best):.2f} of the episodes"
        f" ({label(best)}, {mean(table, best, 'ms'):.1f} CPU ms an action), and in {mean(table, cheap):.2f} with"
        f" {mean(table, cheap, 'ms'):.1f} ms. The most that searches reach in no more time than the former takes:"
        f" {told}. Cloning of the same walks reaches it in {mean(table, 'cloning'):.2f}, true dynamics with the"
        f" distance through the door in {mean(table, 'oracle_geodesic'):.2f}, and actions at random in"
        f" {mean(table, 'random'):.2f}."
    )


def guardrail_answer(table: pd.DataFrame) -> str:
    """The same of guardrails."""
    touched = {name: mean(table, name, "violated") for name in GUARDS}
    lost = {name: mean(table, "guard_none") - mean(table, name) for name in GUARDS}
    held = {level: mean(table, "margin", f"held_{level}") for level in ("0.9", "0.99")}
    width = {level: mean(table, "margin", level) for level in held}
    return (
        f"Without a guardrail {touched['guard_none']:.1%} of the episodes touch the hazard. A hard one leaves"
        f" {touched['guard_hard']:.1%} without a margin, at a cost of {lost['guard_hard']:.2f} of the success;"
        f" {touched['guard_hard_0.9']:.1%} at {lost['guard_hard_0.9']:.2f} with the conformal margin at .9, which is"
        f" {width['0.9']:.3f}; and {touched['guard_hard_0.99']:.1%} at {lost['guard_hard_0.99']:.2f} with that at .99,"
        f" {width['0.99']:.3f}. A soft one of weight 100 leaves {touched['guard_soft_100']:.1%} at"
        f" {lost['guard_soft_100']:.2f} without a margin, and {touched['guard_soft_100_0.99']:.1%} at"
        f" {lost['guard_soft_100_0.99']:.2f} with that at .99. On steps of other walks the two margins held in"
        f" {held['0.9']:.3f} and {held['0.99']:.3f}. Where the hazard covers the door, the goal is reached in"
        f" {mean(table, 'covered_hard'):.1%} of the episodes and the hazard is touched in"
        f" {touched['covered_hard']:.1%}, and {begin_inside(table):.1%} begin in it: to stay"
        " away keeps to the guardrail, so that only"
        f" {mean(table, 'covered_hard', 'infeasible'):.1%} of the plans have to say that none does."
    )


def begin_inside(table: pd.DataFrame) -> float:
    """The share of episodes whose agent begins where the hazard is, when that covers the door."""
    world = TwoRooms(hazard=OVER_THE_DOOR)
    seeds = [int(seed) for seed in table["seed"].unique()]
    starts = [world.start(EPISODES, torch.Generator().manual_seed(STARTS + seed)) for seed in seeds]
    return float(world.violated(torch.cat(starts)).double().mean())


def expectations(table: pd.DataFrame) -> list[str]:
    """What was expected, and whether it came."""
    checks = [(f"Random actions reach at most .02: {mean(table, 'random'):.3f}", mean(table, "random") <= 0.02)]
    ceiling = mean(table, "oracle_geodesic")
    checks.append((f"The ceiling is at least .97: {ceiling:.2f}", ceiling >= 0.97))
    checks.append((f"No action is outside of the box: {table['outside'].sum():.0f} are", table["outside"].sum() == 0))
    for descent in ("gd_4x10_h16", "gd_8x20_h16"):
        found = mean(table, descent)
        checks.append((f"{label(descent)}, reaches at least .80: {found:.2f}", found >= 0.8))
        for family in ("cem", "icem"):
            rival = within(table, family, mean(table, descent, "ms"))
            told = f"and .15 more than {label(rival)}, which takes no more time ({mean(table, rival):.2f})"
            checks.append((told, found - mean(table, rival) >= 0.15))
    for guard in ("guard_soft_100_0.99", "guard_hard_0.9", "guard_hard_0.99"):
        violated, lost = mean(table, guard, "violated"), mean(table, "guard_none") - mean(table, guard)
        told = f"Guardrail {label(guard)}: at most 1 % of violations ({violated:.1%}), .12 of lost success ({lost:.2f})"
        checks.append((told, violated <= 0.01 and lost <= 0.12))
    lines = [f"- {'Yes' if came else '**No**'}: {text}." for text, came in checks]
    return ["What was expected, and whether it came:", "", *lines]


def arrays_of(study: Study, folder: Path) -> dict[str, np.ndarray]:
    """What is drawn, of the first seed, made again unless it is kept."""
    path = folder / "two_rooms_pictures.npz"
    if not path.exists():
        program = [
            sys.executable,
            str(HERE / "programs" / "two_rooms.py"),
            "--agents=none",
            f"--pictures={path.resolve()}",
        ]
        subprocess.run(program, check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)
    with np.load(path) as kept:
        return dict(kept)


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the rows, the figure and the film; what it prints where there is no `out`."""
    table = by_agent(study, results)
    shown = {"ms": ".2f", "evaluations": ".0f", "path": ".2f", "planned": ".1f", "real": ".1f"}
    if out is None:
        return str(table[["agent", "seed", "ever", "ms"]])
    there = set(table["agent"])
    planners = [name for name in dict.fromkeys(table["agent"]) if name.split("_")[0] in FAMILIES]
    planners.sort(key=lambda name: (list(FAMILIES).index(name.split("_")[0]), mean(table, name, "ms")))
    guards = rows(
        table, [name for name in GUARDS if name in there], {"violated": ".3f", "infeasible": ".2f", "ms": ".2f"}
    )
    body = [
        answer(table),
        guardrail_answer(table),
        "\n".join(expectations(table)),
        study.question,
        *how(table),
        "## Planners\n\n" + "\n".join(rows(table, [*REFERENCES, *planners], shown)),
        "## Guardrails\n\n" + "\n".join(guards),
        *made_by(command, ("torch", "numpy")),
    ]
    out.mkdir(parents=True, exist_ok=True)
    arrays = arrays_of(study, results)
    draw(table, arrays, out / "two_rooms.png")
    film(arrays, out / "two_rooms.gif")
    table.to_csv(out / "two_rooms.csv", index=False, float_format="%.6g")
    write_page(out / "two_rooms.md", "Two rooms", body)
    return answer(table)


def how(table: pd.DataFrame) -> list[str]:
    """What was done."""
    seeds = table["seed"].nunique()
    return [
        f"{seeds} seeds of data, model and episodes, {EPISODES} episodes of 40 steps each; shares over all of them with"
        " Wilson's 95 % intervals. Agent and goal are in different rooms, the goal is reached within 0.07 of it, and a"
        " step is at most 0.08 in x and in y. The model has seen 3,000 walks at random of 12 steps, and nothing of"
        f" goals (training: {mean(table, 'model', 'seconds'):.0f} CPU s; a probe reads the position off its codes with"
        f" R2 {mean(table, 'model', 'probe'):.3f}). A plan's energy is the squared distance of imagined codes from the"
        " goal's, summed over the horizon; each plan begins where the one before was going to be, the first action is"
        " done, and all planners keep to the same box. `4 x 10` is restarts x steps of a descent, `64 x 2` candidates x"
        " iterations of a search. `evaluations`: of whole plans, with its gradient for descents, for each action; `ms`:"
        " CPU milliseconds for each action, on one core that others use too. `path`: length of the way over the"
        " shortest. `planned`, `real`: energy of first plans as imagined, and as it came when they were carried out"
        " without looking.",
        "![Success against time, energies of places and of plans, ways past a hazard](two_rooms.png)",
        "![The way, and what the model imagines at each step, with a guardrail and without](two_rooms.gif)",
    ]


if __name__ == "__main__":
    page(__doc__, "two_rooms", write, QUICK, slice(None))
