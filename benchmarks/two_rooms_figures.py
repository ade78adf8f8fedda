"""The figure and the film of the page of two rooms."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.patches import Circle, Rectangle

from ebm.worlds import TwoRooms

Arrays = dict[str, np.ndarray]
COLOURS = {
    "gd": "#0072b2",
    "lbfgs": "#009e73",
    "cem": "#d55e00",
    "icem": "#e69f00",
    "mppi": "#cc79a7",
    "collocation": "#666666",
}
LEVELS = {"oracle_geodesic": "-", "cloning": "--", "greedy": ":"}


def budgets(axis: Axes, table: pd.DataFrame, metric: str, title: str) -> None:
    """Success against CPU time, a line for each family at the horizon of 16; small dots are seeds."""
    for family, colour in COLOURS.items():
        part = table[table["agent"].str.startswith(f"{family}_") & table["agent"].str.endswith("_h16")]
        means = part.groupby("agent")[["ms", metric]].mean().sort_values("ms")
        axis.plot(means["ms"], means[metric], "o-", color=colour, ms=5, lw=1.2, label=family)
        axis.plot(part["ms"], part[metric], ".", color=colour, ms=3, alpha=0.6)
    for agent, style in LEVELS.items():
        value = table.loc[table["agent"] == agent, metric].mean()
        axis.axhline(value, color="black", lw=0.8, ls=style, label=agent.replace("_", ", "))
    axis.set(xscale="log", ylim=(0, 1.03), xlabel="CPU milliseconds an action", ylabel="share of episodes", title=title)


def rooms(axis: Axes, arrays: Arrays, hazard: bool = True) -> None:
    """The walls, the start, the goal, and the hazard with its margin."""
    world = TwoRooms()
    x, door = arrays["state"][5:7]
    half = world.thickness
    for low, high in ((0.0, door - world.door), (door + world.door, 1.0)):
        axis.add_patch(Rectangle((x - half, low), 2 * half, high - low, color="#444444"))
    start, goal = arrays["state"][:2], arrays["state"][2:4]
    axis.plot(*start, "s", color="#009e73", ms=6)
    axis.add_patch(Circle(tuple(goal), world.reached, color="#009e73", alpha=0.3))
    if hazard:
        *middle, radius = arrays["hazard"]
        axis.add_patch(Circle(tuple(middle), radius, color="#d55e00"))
        axis.add_patch(Circle(tuple(middle), radius + float(arrays["margin"]), fill=False, color="#d55e00", ls=":"))
    axis.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", xticks=[], yticks=[])


def places(axis: Axes, arrays: Arrays) -> None:
    """How far from the goal's code the codes of places are."""
    axis.imshow(np.sqrt(arrays["places"]), extent=(0.03, 0.97, 0.97, 0.03), cmap="viridis")
    rooms(axis, arrays, hazard=False)
    axis.set_title("distance from the goal, in codes", fontsize=9)


def tried(axis: Axes, arrays: Arrays) -> None:
    """What eight restarts imagine."""
    rooms(axis, arrays, hazard=False)
    start = arrays["state"][None, :2]
    order = np.argsort(-arrays["restart_energies"])
    for rank, way in enumerate(arrays["restarts"][order]):
        line = np.concatenate([start, way])
        best = rank == len(order) - 1
        axis.plot(*line.T, ".-", ms=3, lw=1, color="#d55e00" if best else "#0072b2", alpha=1 if best else 0.5)
    energies = arrays["restart_energies"]
    axis.set_title(f"8 restarts end at energies\n{energies.min():.1f} to {energies.max():.1f}", fontsize=9)


def landscape(axis: Axes, values: np.ndarray, extent: tuple[float, float, float, float], title: str) -> None:
    """Energies over a plane."""
    low, top, right = extent[0], extent[3], extent[1]
    axis.imshow(values, extent=extent, origin="lower", cmap="viridis", aspect="equal")
    across = np.linspace(low, right, values.shape[1])
    axis.contour(across, np.linspace(extent[2], top, len(values)), values, 14, colors="white", linewidths=0.5)
    row, column = np.unravel_index(values.argmin(), values.shape)
    axis.plot(across[column], np.linspace(extent[2], top, len(values))[row], "*", color="#d55e00", ms=10)
    axis.set_title(title, fontsize=9)


def ways(axis: Axes, arrays: Arrays) -> None:
    """With the guardrail and without."""
    rooms(axis, arrays)
    for name, colour, word in (("guard_none", "#0072b2", "none"), ("guard_hard_0.99", "#000000", "hard, .99")):
        axis.plot(*arrays[f"{name}_way"].T, ".-", color=colour, ms=3, lw=1, label=word)
    axis.legend(fontsize=7, loc="lower right")
    axis.set_title("a hazard in the door: guardrail", fontsize=9)


def draw(table: pd.DataFrame, arrays: Arrays, path: Path) -> None:
    """All panels."""
    mpl.use("Agg")
    figure = plt.figure(figsize=(13, 8), layout="constrained")
    above, below = figure.subfigures(2, 1)
    left, right = above.subplots(1, 2)
    budgets(left, table, "ever", "goal reached")
    budgets(right, table, "end", "at the goal at the end")
    right.legend(fontsize=7, ncols=2, loc="lower right")
    one, two, three, four, five = below.subplots(1, 5)
    places(one, arrays)
    landscape(three, arrays["directions"], (-1, 1, -1, 1), "energy of one action,\n16 times (the first panel's start)")
    three.invert_yaxis()
    landscape(four, arrays["between"], (-0.25, 1.25, -0.25, 1.25), "a (best plan) + b (straight on)")
    four.set(xlabel="a", ylabel="b")
    tried(two, arrays)
    ways(five, arrays)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def film(arrays: Arrays, path: Path, every: int = 5) -> None:
    """The world, and what the model imagines of the plan that it follows, read by the probe."""
    mpl.use("Agg")
    names = {"guard_none": "no guardrail", "guard_hard_0.99": "hard guardrail, margin at .99"}
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.5), layout="constrained")
    lines = []
    for axis, (name, title) in zip(axes, names.items(), strict=True):
        rooms(axis, arrays)
        axis.set_title(title, fontsize=9)
        (way,) = axis.plot([], [], ".-", color="black", ms=3, lw=1)
        (imagined,) = axis.plot([], [], ".-", color="#0072b2", ms=4, lw=1, alpha=0.7)
        lines.append((name, way, imagined))

    def show(t: int) -> list[mpl.lines.Line2D]:
        for name, way, imagined in lines:
            way.set_data(*arrays[f"{name}_way"][: t + 1].T)
            ahead = np.concatenate([arrays[f"{name}_way"][t : t + 1], arrays[f"{name}_imagined"][t]])
            imagined.set_data(*ahead.T)
        return [line for each in lines for line in each[1:]]

    shots = FuncAnimation(figure, show, frames=len(arrays["guard_none_imagined"]), blit=True)
    shots.save(path, PillowWriter(fps=every), dpi=60)
    plt.close(figure)
