"""Plans of single steps against a hierarchy of slower levels in the S-maze: a page with tables, a figure and a film.

    python benchmarks/s_maze.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/s_maze.py --quick              # to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/s_maze.yaml`, and may be made by it. What is drawn is of the
first seed, made again unless it is kept in the results.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from reporting import made_by, write_page
from s_maze_figures import draw, film
from statsmodels.stats.proportion import proportion_confint
from study_page import page
from two_rooms import by_agent, mean

from ebm.study.results import collect
from ebm.study.sweep import Study

HERE = Path(__file__).parent
EPISODES = 48  # as in programs/s_maze.py
QUICK = ("--steps=20", "--episodes=1", "--agents=random,flat_gd_4x10_h6,hierarchy_two_cheap")
NAMES = {
    "random": "uniform actions (floor)",
    "greedy": "straight at the goal, position known",
    "oracle": "true dynamics, distance through the doors (ceiling)",
    "told_the_way": "lowest level, told a true place 6 steps ahead (ceiling of the low level)",
    "hierarchy_two": "two levels, stride 6",
    "hierarchy_two_gd": "two levels, stride 6, descent at the lowest",
    "hierarchy_two_cheap": "two levels, stride 6, smaller budgets",
    "hierarchy_three": "three levels, strides 3 and 4",
    "hierarchy_stride_3": "two levels, stride 3",
    "hierarchy_stride_10": "two levels, stride 10",
    "hierarchy_same_space": "two levels, stride 6, in the same space",
}
KINDS = {"gd": "gradient descent", "cem": "cross-entropy", "mppi": "MPPI"}


def label(agent: str) -> str:
    """What a row is called."""
    agent = agent.removeprefix("room_")
    if agent in NAMES:
        return NAMES[agent]
    family, kind, budget, horizon = agent.split("_")
    lent = ", lent the upper level's codes" if family == "lent" else ""
    return f"flat, {KINDS[kind]}, {budget.replace('x', ' x ')}, horizon {horizon[1:]}{lent}"


def share(values: pd.Series[float]) -> str:
    """Share over all episodes of all seeds, with its Wilson interval."""
    total = EPISODES * len(values)
    low, high = proportion_confint(round(values.sum() * EPISODES), total, 0.05, "wilson")
    return f"{values.mean():.2f} ({low:.2f}-{high:.2f})"


def rows(table: pd.DataFrame, agents: list[str]) -> str:
    """A Markdown table of agents."""
    lines = [
        "| agent | reached | by seed | there at the end | ms | evaluations |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for agent in agents:
        part = table[table["agent"] == agent]
        seeds = " ".join(f"{value:.2f}" for value in part["ever"])
        cells = [label(agent), share(part["ever"]), seeds, share(part["end"]), f"{part['ms'].mean():.2f}"]
        lines.append("| " + " | ".join([*cells, f"{part['evaluations'].mean():.0f}"]) + " |")
    return "\n".join(lines)


def best(table: pd.DataFrame, family: str, metric: str = "ever") -> str:
    """The agent of a family that arrives most often; of equals the fastest."""
    names = [name for name in table["agent"].unique() if name.startswith(f"{family}_")]
    return max(names, key=lambda name: (mean(table, name, metric), -mean(table, name, "ms")))


def told(table: pd.DataFrame, agent: str) -> str:
    """An agent in a few words."""
    part = table[table["agent"] == agent]
    return (
        f"{share(part['ever'])} ever, {share(part['end'])} at the end, at {part['ms'].mean():.2f} ms an action"
        f" ({label(agent)})"
    )


def ratio(value: float, other: float) -> str:
    """How many times as much."""
    return f"{value / other:.1f} times" if other > 0 else "from nothing"


def answer(table: pd.DataFrame) -> str:
    """The first paragraph."""
    flat, lent = best(table, "flat"), best(table, "lent")
    times = ratio(mean(table, "hierarchy_two_cheap"), mean(table, flat))
    return (
        f"Two levels reach the goal in {told(table, 'hierarchy_two')}, and with smaller budgets in"
        f" {told(table, 'hierarchy_two_cheap')}. The best flat planner of single steps reaches it in"
        f" {told(table, flat)}: the cheap hierarchy {times} as often, in"
        f" {mean(table, 'hierarchy_two_cheap', 'ms') / mean(table, flat, 'ms'):.2f} of the time. Not all of that is"
        " hierarchy: in the slow codes of the upper level far apart is what is far to go. A flat planner that is lent"
        f" them for its cost reaches the goal in {told(table, lent)}, and two levels in one and the same space in"
        f" {told(table, 'hierarchy_same_space')}."
    )


def expectations(table: pd.DataFrame) -> list[str]:
    """What was expected, and whether it came."""
    checks = []
    for metric, words in (("ever", "reaches the goal"), ("end", "is there at the end")):
        flat = best(table, "flat", metric)
        for agent in ("hierarchy_two", "hierarchy_two_cheap"):
            times, ms = mean(table, agent, metric), mean(table, agent, "ms") / mean(table, flat, "ms")
            checks.append(
                (
                    f"A hierarchy ({label(agent)}) {words} at least twice as often as the best flat planner"
                    f" ({label(flat)}), in at most half of its time: {times:.2f} against"
                    f" {mean(table, flat, metric):.2f}, in {ms:.2f} of the time",
                    times >= 2 * mean(table, flat, metric) and ms <= 0.5,
                )
            )
    near, over = mean(table, "room_flat_gd_4x10_h15"), mean(table, "room_hierarchy_two")
    lent, three = best(table, "lent"), mean(table, "hierarchy_three")
    checks += [
        (f"It gains nothing within a room: {over:.2f} against {near:.2f} of a flat planner", over <= near + 0.05),
        (
            "It is the hierarchy, not the upper level's codes: a flat planner that is lent them reaches at most half as"
            f" often, {mean(table, lent):.2f} against {mean(table, 'hierarchy_two'):.2f}; it takes"
            f" {ratio(mean(table, lent, 'ms'), mean(table, 'hierarchy_two', 'ms'))} the time",
            2 * mean(table, lent) <= mean(table, "hierarchy_two"),
        ),
        (
            f"Three levels reach no less than two: {three:.2f} against {mean(table, 'hierarchy_two'):.2f}",
            three >= mean(table, "hierarchy_two"),
        ),
        (f"Random actions reach at most .02: {mean(table, 'random'):.3f}", mean(table, "random") <= 0.02),
    ]
    lines = [f"- {'Yes' if came else '**No**'}. {text}." for text, came in checks]
    return ["What was expected, and whether it came:\n" + "\n".join(lines)]


def metrics(table: pd.DataFrame) -> str:
    """How the levels order places."""
    lines = ["| ladder | lowest | second | third | CPU s of training |", "| --- | --- | --- | --- | --- |"]
    for name in ("two", "stride_3", "stride_10", "three", "same_space"):
        part = table[table["agent"] == name]
        cells = [f"{part[f'metric_{k}'].mean():.2f}" if part[f"metric_{k}"].notna().any() else "" for k in range(3)]
        lines.append("| " + " | ".join([NAMES[f"hierarchy_{name}"], *cells, f"{part['seconds'].mean():.0f}"]) + " |")
    return "\n".join(lines)


def how(table: pd.DataFrame) -> list[str]:
    """What was done."""
    seeds = table["seed"].nunique()
    open_loop = ", ".join(f"{mean(table, 'model', f'open_{k}'):.3f} after {k}" for k in (6, 12, 24))
    return [
        f"{seeds} seeds of data, models and episodes, {EPISODES} episodes of 60 steps each; shares over all of them"
        " with Wilson's 95 % intervals. Agent and goal are in the outer two of three rooms, whose doors are at opposite"
        " ends; the goal is reached within 0.07 of it, and a step is at most 0.07 in x and in y. The lowest level has"
        " seen 3,000 walks at random of 24 steps as pictures of 16 x 16 (training:"
        f" {mean(table, 'model', 'seconds'):.0f} CPU s; a probe reads the position off its codes with R2"
        f" {mean(table, 'model', 'probe'):.3f}; rollouts are off by {open_loop} steps)."
        " Levels above it are trained on its codes: 8 slow features of their own, 3 numbers for"
        " what is done in a stride, with prediction, variance, covariance and slowness; `in the same space` has none of"
        " its own and prediction alone. A hierarchy plans by search 30 steps ahead at its highest level, every half"
        " stride; the first code that it expects is the goal of the level below, unless the goal itself is nearer. A"
        " plan's energy is the squared distance from its goal, summed over the horizon. All planners begin at their"
        " plan before, keep to the same box, and draw anew each time. `4 x 10` is restarts x steps of a descent,"
        " `64 x 4` candidates x iterations of a search; smaller budgets are 48 x 3 above and 24 x 2 below, where it is"
        " 96 x 5 and 32 x 3 else. `ms`: CPU milliseconds for each action, on one core that others use too;"
        " `evaluations`: of whole plans, those of all levels counted alike.",
        "![Success against time, distances in codes, ways and subgoals](s_maze.png)",
        "![The way, and what both levels imagine at each step](s_maze.gif)",
    ]


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    """What is drawn, of the first seed, made again unless it is kept."""
    path = folder / "s_maze_pictures.npz"
    if not path.exists():
        program = [sys.executable, str(HERE / "programs" / "s_maze.py"), "--agents=none"]
        program.append(f"--pictures={path.resolve()}")
        subprocess.run(program, check=True, cwd=HERE.parent, stdout=subprocess.DEVNULL)
    with np.load(path) as kept:
        return dict(kept)


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the rows, the figure and the film; what it prints where there is no `out`."""
    table = by_agent(study, results)
    if out is None:
        return str(table[["agent", "seed", "ever", "ms"]])
    names = [name for name in collect(study, results).table.columns if name.endswith("/ever")]
    agents = [name.removesuffix("/ever") for name in names]
    long, near = ([name for name in agents if name.startswith("room_") == inside] for inside in (False, True))
    body = [
        answer(table),
        *expectations(table),
        study.question,
        *how(table),
        "## Through both doors\n\n" + rows(table, long),
        "## Within a room\n\nThe same models where agent and goal are in one room.\n\n" + rows(table, near),
        "## How far is it, in codes?\n\nSpearman's correlation of squared distances of codes with the way between"
        " places, for each level.\n\n" + metrics(table),
        *made_by(command, ("torch", "numpy")),
    ]
    out.mkdir(parents=True, exist_ok=True)
    arrays = arrays_of(results)
    draw(table, arrays, out / "s_maze.png")
    film(arrays, out / "s_maze.gif")
    table.to_csv(out / "s_maze.csv", index=False, float_format="%.6g")
    write_page(out / "s_maze.md", "S-maze", body)
    return answer(table)


if __name__ == "__main__":
    page(__doc__, "s_maze", write, QUICK, slice(0, 1))
