"""The figure and the film of the page of the S-maze."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from ebm.worlds import SMaze

Arrays = dict[str, np.ndarray]
COLOURS = {"flat": "#0072b2", "lent": "#56b4e9", "hierarchy": "#d55e00"}
SUBGOAL, LOW, GOAL = "#d55e00", "#0072b2", "#009e73"


def maze(axis: Axes, arrays: Arrays, goal: bool = True) -> None:
    """The walls, the start and the goal."""
    world = SMaze()
    for x, door in arrays["state"][5:].reshape(-1, 2):
        for low, high in ((0.0, door - world.door), (door + world.door, 1.0)):
            axis.add_patch(Rectangle((x - world.thickness, low), 2 * world.thickness, high - low, color="#444444"))
    if goal:
        axis.plot(*arrays["state"][:2], "s", color=GOAL, ms=6)
        axis.add_patch(Circle(tuple(arrays["state"][2:4]), world.reached, color=GOAL, alpha=0.4))
    axis.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", xticks=[], yticks=[])


def against_time(axis: Axes, table: pd.DataFrame) -> None:
    """Success against CPU time, a dot for each planner; small dots are seeds."""
    for family, colour in COLOURS.items():
        part = table[table["agent"].str.startswith(f"{family}_")]
        axis.plot(part["ms"], part["ever"], ".", color=colour, ms=3, alpha=0.6)
        means = part.groupby("agent")[["ms", "ever"]].mean()
        axis.plot(means["ms"], means["ever"], "o", color=colour, ms=6, label=family)
        for agent, row in means.iterrows() if family == "hierarchy" else ():
            words = str(agent).removeprefix("hierarchy_").replace("_", " ")
            axis.annotate(words, (row["ms"], row["ever"]), (4, 3), textcoords="offset points", fontsize=7)
    for agent, style in {"oracle": "-", "told_the_way": "--", "greedy": ":"}.items():
        value = table.loc[table["agent"] == agent, "ever"].mean()
        axis.axhline(value, color="black", lw=0.8, ls=style, label=agent.replace("_", " "))
    axis.set(xscale="log", ylim=(-0.02, 1.03), xlabel="CPU milliseconds an action", ylabel="reached, share of episodes")
    axis.legend(fontsize=7, loc="upper right")


def places(axis: Axes, arrays: Arrays, level: str, title: str) -> None:
    """How far from the goal's code the codes of places are."""
    axis.imshow(np.sqrt(arrays[level]), extent=(0.03, 0.97, 0.97, 0.03), cmap="viridis")
    maze(axis, arrays)
    axis.set_title(title, fontsize=9)


def ways(axis: Axes, arrays: Arrays, agent: str, title: str) -> None:
    """The ways of some episodes, and where they end."""
    maze(axis, arrays, goal=False)
    for way in arrays[agent]:
        axis.plot(*way.T, lw=0.8, color=COLOURS[agent], alpha=0.5)
        axis.plot(*way[-1], "o", color=COLOURS[agent], ms=3)
    axis.set_title(title, fontsize=9)


def subgoals(axis: Axes, arrays: Arrays) -> None:
    """One way, and the goals that the upper level gave on it."""
    maze(axis, arrays)
    axis.plot(*arrays["way"].T, ".-", color=LOW, lw=1, ms=3)
    first = arrays["upper"][::3, 0]
    for here, there in zip(arrays["way"][:-1:3], first, strict=True):
        axis.plot(*np.stack([here, there]).T, color=SUBGOAL, lw=0.6)
    axis.plot(*first.T, "*", color=SUBGOAL, ms=6)
    axis.set_title("one way, and the goals from above (read by a probe)", fontsize=9)


def draw(table: pd.DataFrame, arrays: Arrays, path: Path) -> None:
    """Success against time; distances in codes of both levels; ways; subgoals."""
    with mpl.rc_context({"font.size": 9}):
        figure, axes = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
        against_time(axes[0, 0], table)
        places(axes[0, 1], arrays, "lowest", "distance from the goal, codes of the lowest level")
        places(axes[0, 2], arrays, "above", "the same, codes of the level above")
        ways(axes[1, 0], arrays, "flat", "flat, gradient descent, horizon 15")
        ways(axes[1, 1], arrays, "hierarchy", "two levels")
        subgoals(axes[1, 2], arrays)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def film(arrays: Arrays, path: Path) -> None:
    """The way, what the upper level imagines, and what the lowest does, at each step until the goal is reached."""
    far = np.linalg.norm(arrays["way"] - arrays["state"][2:4], axis=1)
    arrived = np.flatnonzero(far < SMaze().reached)
    count = int(arrived[0]) + 3 if len(arrived) else len(arrays["upper"])
    figure, axis = plt.subplots(figsize=(3.2, 3.4), layout="constrained")

    def frame(time: int) -> list[object]:
        axis.clear()
        maze(axis, arrays)
        here = arrays["way"][time]
        axis.plot(*arrays["way"][: time + 1].T, color="#999999", lw=1)
        axis.plot(*arrays["upper"][time].T, "*--", color=SUBGOAL, lw=0.8, ms=6)
        axis.plot(*arrays["upper"][time][0], "*", color=SUBGOAL, ms=12)
        axis.plot(*np.concatenate([here[None], arrays["lower"][time]]).T, ".-", color=LOW, lw=1, ms=3)
        axis.plot(*here, "o", color="black", ms=5)
        axis.set_title(f"step {time}: stars from above, dots from below", fontsize=8)
        return []

    frames = min(count, len(arrays["upper"]))
    FuncAnimation(figure, frame, frames=frames).save(path, PillowWriter(fps=5), dpi=70)  # type: ignore[arg-type]
    plt.close(figure)
