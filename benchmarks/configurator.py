"""One world model turned to several tasks at run time: a page with what came of each.

    python benchmarks/configurator.py --results results    # what is missing of the study in results/, then the page
    python benchmarks/configurator.py --quick              # to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/configurator.yaml`, and may be made by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from reporting import made_by, with_interval, write_page
from study_page import page
from success import markdown, percent

from ebm.study.results import collect
from ebm.study.sweep import Study

TASKS = {
    "random": ("uniform actions", ""),
    "reach": ("reach the goal", "`GoalDistance()`, horizon 12"),
    "look_4_ahead": ("reach it, seeing less far", "`horizon=4`"),
    "little_effort": ("reach it with little effort", "`GoalDistance() + 0.3 * Effort()`"),
    "avoid_region": ("reach it, but not through a disk", "`GoalDistance() + 100 * Guardrail(...)`"),
    "keep_away": ("keep away from it", "`-1.0 * GoalDistance()`"),
}
SHARES, MEANS = ("end", "violated"), {"distance": ".2f", "apart": ".2f", "effort": ".2f", "ms": ".1f"}


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row a task and seed."""
    runs = [run for _, run in collect(study, results).table.iterrows()]
    found = [
        {
            "task": task,
            "seed": run["seed"],
            "episodes": run["episodes/count"],
            **{name: run[f"{task}/{name}"] for name in (*SHARES, *MEANS)},
        }
        for run in runs
        for task in TASKS
    ]
    return pd.DataFrame(found)


def lines(table: pd.DataFrame) -> str:
    """The table of the page."""
    head = ["task", "what is configured", "at the goal at the end", "touches the disk", "distance then"]
    found = [[*head, "distance on the way", "effort of a step", "CPU ms an action"]]
    for task, (told, how) in TASKS.items():
        part = table[table["task"] == task]
        shares = [percent(part[name], part["episodes"]) for name in SHARES]
        found.append([told, how, *shares, *(with_interval(part[name], form) for name, form in MEANS.items())])
    return markdown(found)


def answer(table: pd.DataFrame) -> str:
    """What came of the expectations, each with the figures that tell."""
    mean = table.groupby("task")[[*SHARES, *MEANS]].mean()
    checks = {
        f"keeping away is further from the goal than chance ({mean['distance']['keep_away']:.2f} against"
        f" {mean['distance']['random']:.2f})": mean["distance"]["keep_away"] > mean["distance"]["random"],
        f"little effort takes less effort ({mean['effort']['little_effort']:.2f} against"
        f" {mean['effort']['reach']:.2f} a step)": mean["effort"]["little_effort"] < mean["effort"]["reach"],
        f"avoiding the disk touches it less often ({100 * mean['violated']['avoid_region']:.0f} % against"
        f" {100 * mean['violated']['reach']:.0f} %)": mean["violated"]["avoid_region"] < mean["violated"]["reach"],
        f"seeing less far succeeds less often ({100 * mean['end']['look_4_ahead']:.0f} % against"
        f" {100 * mean['end']['reach']:.0f} %)": mean["end"]["look_4_ahead"] < mean["end"]["reach"],
    }
    came = [claim for claim, holds in checks.items() if holds]
    failed = [claim for claim, holds in checks.items() if not holds]
    told = f"The model is turned to other tasks without training. As expected: {'; '.join(came) or 'nothing'}."
    return told + (f" **Expected, and not so: {'; '.join(failed)}.**" if failed else "")


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page and the rows where that is wanted; returns the table to print."""
    table = rows(study, results)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(out / "configurator.csv", index=False, float_format="%.6g")
        body = [answer(table), study.question, *how(study, table), lines(table), *made_by(command, ("torch",))]
        write_page(out / "configurator.md", "The configurator", body)
    return "\n\n".join([lines(table), answer(table)])


def how(study: Study, table: pd.DataFrame) -> list[str]:
    """What was done."""
    seeds, episodes = table["seed"].nunique(), table[table["task"] == "reach"]["episodes"].sum()
    missing = len(study.runs) - seeds
    return [
        *([f"**{missing} of the {len(study.runs)} runs are not finished and not in here.**"] * (missing > 0)),
        f"{seeds} world models of `TwoRooms`, trained for 500 steps on walks at random, and {episodes:.0f} episodes for"
        " each task in all, the same for all tasks of a seed. Each task is `plan.configured(...)` of one plan, inferred"
        " by 8 steps of Adam from 3 starts. Shares with Wilson's 95 % intervals, means over seeds with half their"
        " t-intervals; distances in sides of the square. The disk lies in the upper part of the door; plans know of it"
        " by a probe of the dot's place, with a margin of 0.03.",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write."""
    page(__doc__, "configurator", write, ["--steps=2", "--episodes=2", "--moments=2"], slice(0, 1), arguments)


if __name__ == "__main__":
    main()
