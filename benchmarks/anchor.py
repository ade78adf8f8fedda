"""EB-JEPA's Two Rooms with its step limit enforced: success of planners, and what each term of the recipe is worth.

    python benchmarks/anchor.py --results results            # small, for a CPU: what is missing, then the page
    python benchmarks/anchor.py --device cuda                # as published, on a GPU: one run, which is printed
    python benchmarks/anchor.py --device cuda --arm no_inverse
    python benchmarks/anchor.py --quick                      # to see that it runs; nothing is written

The small runs are those of `ebm study run benchmarks/studies/anchor.yaml`, and may be made by it. With `--device` all
other options go to `benchmarks/programs/anchor.py --setting=published`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from reporting import made_by, summary, write_page
from study_page import page
from success import markdown, percent, wilson

from ebm.study.results import collect
from ebm.study.sweep import Study

PROGRAM = Path(__file__).parent / "programs" / "anchor.py"
PUBLISHED = {"all": 97, "no_variance": 47, "no_covariance": 46, "no_smoothness": 61, "no_inverse": 1}
ARMS = {
    "all": "all terms",
    "no_variance": "no variance",
    "no_covariance": "no covariance",
    "no_smoothness": "no smoothness in time",
    "no_inverse": "no inverse dynamics",
}
AGENTS = {
    "random": "uniform actions",
    "true straight": "the world itself, straight distance",
    "true way": "the world itself, distance through the door",
    "mppi": "model, MPPI",
    "cem": "model, CEM",
    "gradient": "model, gradient",
}
FLOORS = ("random", "true straight", "true way")


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row a run."""
    table = collect(study, results).table
    return table.assign(arm=table["arm"].str.removeprefix("arm="))


def of(table: pd.DataFrame, arm: str, agent: str, what: str = "at_goal") -> pd.DataFrame:
    """The runs of an arm, with the share of an agent as `share`; none where it did not play."""
    part, name = table[table["arm"] == arm], f"{agent}/{what}"
    return part.assign(share=part[name]).dropna(subset="share") if name in part else part[:0].assign(share=None)


def planners(table: pd.DataFrame) -> str:
    """Success of every agent, the model being that of all terms."""
    lines = [
        ["agent", "at the goal at the end", "at some time", "longest action", "plans an action", "CPU ms an action"]
    ]
    for agent, told in AGENTS.items():
        part = of(table, "none" if agent in FLOORS else "all", agent)
        if len(part):
            shares = [percent(part[f"{agent}/{what}"], part["episodes/count"]) for what in ("at_goal", "reached")]
            numbers = [part[f"{agent}/longest"].max(), part[f"{agent}/evaluations"].mean(), part[f"{agent}/ms"].mean()]
            lines.append([told, *shares, *(f"{value:.{n}f}" for value, n in zip(numbers, (3, 0, 2), strict=True))])
    return markdown(lines)


def ablations(table: pd.DataFrame) -> str:
    """Success of MPPI without each term, beside what was published."""
    lines = [["terms", "at the goal at the end", "published, large", "probe now, R2", "after 8 steps, R2"]]
    for arm, told in ARMS.items():
        part = of(table, arm, "mppi")
        if len(part):
            probes = [f"{part[f'probe/{when}'].mean():.2f}" for when in ("now", "ahead")]
            lines.append([told, percent(part["share"], part["episodes/count"]), f"{PUBLISHED[arm]} %", *probes])
    return markdown(lines)


def answer(table: pd.DataFrame) -> str:
    """The first sentences, and what contradicts the published figures."""
    shares = {}
    for arm in ARMS:
        if len(part := of(table, arm, "mppi")):
            shares[arm] = wilson(part["share"], part["episodes/count"])
    if "all" not in shares:
        return "**The runs with all terms are not finished.**"
    share, low, high = (100 * value for value in shares["all"])
    others = [
        f"{told} {100 * shares[arm][0]:.0f} % ({PUBLISHED[arm]} %)"
        for arm, told in ARMS.items()
        if arm != "all" and arm in shares
    ]
    kept = [ARMS[arm] for arm in shares if arm != "all" and shares[arm][2] >= shares["all"][1]]
    found = (
        f"In small, on a CPU, MPPI with the model of all terms is at the goal at the end of {share:.0f} % of the"
        f" episodes ({low:.0f} to {high:.0f}); published, in full size on a GPU with steps that are not limited: 97"
        " %. **In full size nothing was measured here yet:** there was no GPU."
    )
    without = f" With all terms but one (published in full size in brackets): {', '.join(others)}." if others else ""
    against = (
        f" The episodes are too few to tell these from all terms, their intervals overlap: {', '.join(kept)}."
        if kept
        else ""
    )
    known = of(table, "none", "true straight")
    if len(known):
        truth = percent(known["share"], known["episodes/count"])
        against += (
            f" The world in the place of a model gives {truth} with the straight distance: the rest is the model's."
        )
    return found + without + against


def write(study: Study, results: Path, out: Path | None, command: str) -> str:
    """The page and the rows where that is wanted; returns the tables to print."""
    table = rows(study, results)
    parts = [
        "## Planners",
        planners(table),
        "## What each term is worth",
        ablations(table),
        "## Training",
        *costs(table),
    ]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(out / "anchor.csv", index=False, float_format="%.6g")
        body = [answer(table), study.question, *how(study, table), *parts, *made_by(command, ("torch",))]
        write_page(out / "anchor.md", "The anchor: EB-JEPA's Two Rooms", body)
    return "\n\n".join([*parts, answer(table)])


def costs(table: pd.DataFrame) -> list[str]:
    """What was left of each term, and what training took."""
    left = [name for name in table if name.startswith(("left/", "train/seconds"))]
    trained = table[table["arm"] != "none"].rename(columns=lambda name: name.replace("left/", ""))
    formats = {name.replace("left/", ""): ".3g" for name in left}
    return ["\n".join(summary(trained, ["arm"], formats))] if left else []


def how(study: Study, table: pd.DataFrame) -> list[str]:
    """What was done, and what was not."""
    missing = len(study.runs) - len(table)
    return [
        *([f"**{missing} of the {len(study.runs)} runs are not finished and not in here.**"] * (missing > 0)),
        "`WallRooms` is the world that EB-JEPA evaluates in: its dynamics, its recoil and its pictures, with the"
        " limit on steps that its environment names and does not enforce; start and goal are in different rooms, the"
        " wall and the door elsewhere in each episode, and an episode succeeds if the dot is within the radius of"
        " the goal at its last step. Measured here in small: 33 x 33 pixels, actions up to 2 pixels, a radius of"
        " 2.3, 40 steps; three convolutions to 64 features and a recurrent unit, 500 steps of AdamW on 48 walks of 9"
        " frames. The weights of the terms are the published ones, which were chosen for the full size. Plans are of"
        " 20 actions, begin where the last ended, and are kept within the limit. Shares are over all episodes of all"
        " seeds, with Wilson's 95 % intervals; the probe is a linear one of the dot's place.",
        "In full size, one command, made for a GPU and not run on one: `python benchmarks/anchor.py --device cuda`"
        " trains on walks that are made on the device (65 x 65, Impala to 512, 3,000 steps of 384 walks, bfloat16)"
        " and plays 256 episodes of 200 steps at once with MPPI, CEM and gradient descent.",
    ]


def published(device: str, rest: Sequence[str]) -> None:
    """One run in full size; its success with intervals is printed."""
    command = [sys.executable, str(PROGRAM), "--setting=published", f"--device={device}", *rest]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    found = json.loads(told.splitlines()[-1])
    frame = pd.DataFrame([found])
    for agent in AGENTS:
        if f"{agent}/at_goal" in found:
            share = percent(frame[f"{agent}/at_goal"], frame["episodes/count"])
            print(f"{AGENTS[agent]}: {share} at the goal, {found[f'{agent}/episode_seconds']:.3g} seconds an episode")
    print(json.dumps(found))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is missing, and write; or run in full size."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--device")
    options, rest = parser.parse_known_args(arguments)
    if options.device:
        published(options.device, rest)
    else:
        page(__doc__, "anchor", write, ["--steps=2", "--episodes=2", "--moments=2"], slice(0, 2), arguments)


if __name__ == "__main__":
    main()
