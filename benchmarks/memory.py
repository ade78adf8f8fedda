"""Errands with and without a memory: a page with success by slots, and what happens when keys are not compared.

    python benchmarks/memory.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/memory.py --quick              # to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/memory.yaml`, and may be made by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from reporting import made_by, write_page
from study_page import page
from success import markdown, percent, wilson

from ebm.study.results import collect
from ebm.study.sweep import Study

AGENTS = {
    "random": "wanders",
    "no_keys": "goes to a place that it has stored, its keys not compared",
    "slots_1": "remembers the last place",
    "slots_2": "remembers the last 2",
    "slots_3": "remembers the last 3",
    "slots_4": "remembers all 4",
    "read": "goes to what the memory of 4 reads at the sign",
    "blurred": "the same, attention spread evenly",
    "told": "is shown a picture of the place",
}
PLACES = 4


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row an agent and seed."""
    table = collect(study, results).table
    found = [
        {
            "agent": agent,
            "seed": run["seed"],
            "episodes": run["episodes/count"],
            **{name: run[f"{agent}/{name}"] for name in ("success", "wrong", "ms", "evaluations")},
        }
        for _, run in table.iterrows()
        for agent in AGENTS
    ]
    return pd.DataFrame(found)


def of(table: pd.DataFrame, agent: str) -> tuple[float, float, float]:
    """Success of an agent and its interval."""
    part = table[table["agent"] == agent]
    return wilson(part["success"], part["episodes"])


def lines(table: pd.DataFrame) -> str:
    """The table of the page."""
    found = [["agent", "succeeds", "goes to a wrong place", "plans an action", "CPU ms an action"]]
    for agent, told in AGENTS.items():
        part = table[table["agent"] == agent]
        shares = [percent(part[name], part["episodes"]) for name in ("success", "wrong")]
        found.append([told, *shares, f"{part['evaluations'].mean():.0f}", f"{part['ms'].mean():.2f}"])
    return markdown(found)


def answer(table: pd.DataFrame) -> str:
    """The first sentences, with what was expected."""
    found = {agent: of(table, agent) for agent in AGENTS}
    memory, told, blind = (100 * found[agent][0] for agent in ("slots_4", "told", "no_keys"))
    missed = [
        f"{slots} of {PLACES} slots give {100 * share:.0f} % ({100 * low:.0f} to {100 * high:.0f})"
        for slots in range(1, PLACES + 1)
        for share, low, high in [found[f"slots_{slots}"]]
        if not low <= slots / PLACES <= high
    ]
    line = (
        "As expected, success is the share of places that the memory holds, within the intervals."
        if not missed
        else f"That success is the share of places that the memory holds did not come exactly: {'; '.join(missed)}."
    )
    return (
        f"With a memory of all places {memory:.0f} % of the errands succeed; {told:.0f} % where the agent is shown the"
        f" place, {blind:.0f} % where it goes to a place whose sign it has not compared. {line}"
    )


def draw(table: pd.DataFrame, path: Path) -> None:
    """Success against slots, between the floor and the ceiling."""
    mpl.use("Agg")
    figure, axis = plt.subplots(figsize=(5, 3.4), layout="constrained")
    slots = range(1, PLACES + 1)
    found = [of(table, f"slots_{count}") for count in slots]
    means = [share for share, _, _ in found]
    errors = [[share - low for share, low, _ in found], [high - share for share, _, high in found]]
    axis.errorbar(slots, means, errors, marker="o", capsize=3, label="memory")
    axis.plot([0, PLACES], [0, 1], ls=":", color="grey", label="share of places held")
    for agent, colour in (("told", "#2f9e44"), ("no_keys", "#d9480f"), ("random", "#868e96")):
        axis.axhline(of(table, agent)[0], lw=1, ls="--", color=colour, label=agent.replace("_", " "))
    axis.set(xlabel="slots", ylabel="success", xticks=range(PLACES + 1), ylim=(-0.03, 1.03))
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page, the rows and the picture where that is wanted; returns the table to print."""
    table = rows(study, results)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(out / "memory.csv", index=False, float_format="%.6g")
        draw(table, out / "memory.png")
        body = [answer(table), study.question, *how(study, table), lines(table), *made_by(command, ("torch",))]
        write_page(out / "memory.md", "Memory", body)
    return "\n\n".join([lines(table), answer(table)])


def how(study: Study, table: pd.DataFrame) -> list[str]:
    """What was done."""
    seeds, episodes = table["seed"].nunique(), table[table["agent"] == "told"]["episodes"].sum()
    missing = len(study.runs) - seeds
    return [
        *([f"**{missing} of the {len(study.runs)} runs are not finished and not in here.**"] * (missing > 0)),
        "`Errands`: four places are shown, each with its sign, then one sign is called; the first place that is come to"
        f" ends the episode. {seeds} world models, {episodes:.0f} episodes for each agent in all, the same for all"
        " agents of a seed; shares with Wilson's 95 % intervals. The model knows pictures of the dot alone. The memory"
        " stores the code of a place under its sign, and a plan consults its energy"
        " `-1/b log sum_n exp(-b (w |q - k_n|^2 + |code - v_n|^2))` at the sign `q` that is called. All plans are by 5"
        " steps of Adam over 3 actions.",
        "![Success against slots](memory.png)",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write."""
    page(__doc__, "memory", write, ["--steps=2", "--episodes=2"], slice(0, 1), arguments)


if __name__ == "__main__":
    main()
