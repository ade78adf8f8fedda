"""Time making trajectories, stepping worlds and planning, against EB-JEPA where a checkout of it is given.

    python benchmarks/speed/planning.py --eb-jepa ../eb_jepa    # everything, into benchmarks/results
    python benchmarks/speed/planning.py --quick                 # a few seconds, to see that it runs; nothing is written

Without `--eb-jepa` (a folder with facebookresearch/eb_jepa) only our own rows are measured.
"""

from __future__ import annotations

import argparse
import csv
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch
from planning_peers import Peer, peer, same_model, their_plan
from tables import machine, versions
from torch import Tensor

import ebm.worlds
from ebm.constraints import Ball
from ebm.energies import GoalDistance, LearnedDynamics, Plan
from ebm.minimize import minimize
from ebm.networks import Impala, RecurrentTransition
from ebm.solvers import CrossEntropyMethod
from ebm.worlds import Uniform, WallRooms, World, wall_walks

RESULTS = Path(__file__).parents[1] / "results"
WORLD = WallRooms()
FRAMES, HORIZON, POPULATION, ITERATIONS = 17, 90, 200, 20
PRODUCTS = 2 * 3 * 512 * 512 * POPULATION * HORIZON / 1e9  # of a state of 512 with the weights of three gates, GFLOP
WARM = 4  # iterations of a plan that begins where the one before ended


@dataclass
class Timed:
    """What is timed: CPU seconds of `count` units of work a call."""

    task: str
    method: str
    unit: str
    count: float
    call: Callable[[], object]
    wanted: float | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def each(self) -> float:
        """CPU seconds of a unit, the median."""
        return statistics.median(self.seconds) / self.count


def worlds() -> list[World]:
    """One of each that is exported, as it comes."""
    kinds = [kind for kind in vars(ebm.worlds).values() if isinstance(kind, type) and issubclass(kind, World)]
    return [kind() for kind in sorted(kinds, key=lambda kind: kind.__name__) if kind is not World]


def data(found: Peer | None, count: int) -> list[Timed]:
    """Trajectories of 17 frames with their pictures."""
    generator = torch.Generator().manual_seed(0)

    def ours() -> Tensor:
        return WORLD.observe(wall_walks(WORLD, count, FRAMES - 1, generator).states)

    task = "trajectory of 17 frames, 65 x 65"
    timed = [Timed(task, "ebm", "trajectory", count, ours)]
    if found is not None:
        few = max(1, count // 24)
        timed.append(Timed(task, "eb_jepa", "trajectory", few, lambda: [found.data[i] for i in range(few)], 100))
    return timed


def plans(found: Peer | None, episodes: int, horizon: int, population: int, iterations: int) -> list[Timed]:
    """An iteration of a plan for an episode; both planners have the same model."""
    dynamics = LearnedDynamics(Impala(), RecurrentTransition(512, 2)) if found is None else same_model(found.model)
    states = WORLD.start(episodes, torch.Generator().manual_seed(0))
    seen, goal = WORLD.observe(states), WORLD.observe(WORLD.goal(states))
    plan = Plan(dynamics.requires_grad_(False).eval(), GoalDistance("sum"), horizon)
    solver = CrossEntropyMethod(population, population // 10, 1.5 / WORLD.reach, steps=iterations, tolerance=0)

    @torch.no_grad()
    def ours() -> Tensor:
        hx, hy = plan.encode(seen, goal)
        start = plan.latent(hx, hy)
        return minimize(lambda z, hx, hy: plan.cost(hx, hy, z), start, solver, given=(hx, hy), within=Ball()).energy

    task = f"plan of {population} x {horizon}, an iteration"
    timed = [Timed(task, f"ebm, {episodes} episodes at once", "iteration and episode", episodes * iterations, ours)]
    if found is not None:

        def theirs() -> Tensor:
            return their_plan(found, seen[0], goal[0], horizon, population, iterations)

        timed.append(Timed(task, "eb_jepa", "iteration and episode", iterations, theirs))
    return timed


def steps(found: Peer | None, copies: int, compiled: Sequence[str]) -> list[Timed]:
    """A step of each world, eager, and compiled where that is asked for; and one with its picture."""
    timed = []
    for world in worlds():
        generator = torch.Generator().manual_seed(0)
        states = world.start(copies, generator)
        actions = Uniform()(world, states, generator) if world.actions else states.new_zeros(copies, 0)
        drawn = world.noise(states, generator)
        name = type(world).__name__
        timed.append(Timed(f"step of {name}", "ebm", "step", copies, _stepping(world.step, states, actions, drawn)))
        if name in compiled:
            fast = torch.compile(world.step, dynamic=False)
            timed.append(
                Timed(f"step of {name}", "ebm, compiled", "step", copies, _stepping(fast, states, actions, drawn))
            )
    few = max(1, copies // 16)
    states = WORLD.start(few, torch.Generator().manual_seed(0))
    actions, drawn = torch.zeros(few, 2), torch.zeros(few, 2)
    task = "step of WallRooms with its picture"
    timed.append(Timed(task, "ebm", "step", few, lambda: WORLD.observe(WORLD.step(states, actions, drawn))))
    if found is not None:
        found.environment.reset()
        move = torch.tensor([0.3, 0.2])
        timed.append(Timed(task, "eb_jepa", "step", 1, lambda: found.environment.step(move.numpy())))
    return timed


def _stepping(step: Callable[..., Tensor], *given: Tensor | None) -> Callable[[], Tensor]:
    return lambda: step(*given)


def measure(timed: Sequence[Timed], rounds: int) -> None:
    """Each once unmeasured, then those of a task in turns, in an order drawn anew each round."""
    for task in dict.fromkeys(each.task for each in timed):
        group = [each for each in timed if each.task == task]
        for each in group:
            each.call()
        for turn in range(rounds):
            for each in random.Random(turn).sample(group, len(group)):
                began = time.process_time()
                each.call()
                each.seconds.append(time.process_time() - began)
        print(f"{task}: measured", file=sys.stderr)


def records(timed: Sequence[Timed]) -> list[dict[str, object]]:
    """A row of figures each."""
    ours = {each.task: each.each for each in timed if each.method.startswith("ebm") and "compiled" not in each.method}
    return [
        {
            "task": each.task,
            "method": each.method,
            "microseconds": f"{1e6 * each.each:.4g}",
            "a_second": f"{1 / each.each:.4g}",
            "of": each.unit,
            "times_ours": f"{each.each / ours[each.task]:.3g}",
            "wanted": each.wanted or "",
            "rounds": len(each.seconds),
        }
        for each in timed
    ]


def episode(timed: Sequence[Timed]) -> list[str]:
    """What an iteration means for a plan: at equal iterations, and as both are used."""
    plan = {each.method.split(",")[0]: each for each in timed if each.task.startswith("plan")}
    if "eb_jepa" not in plan:
        return []
    equal = plan["eb_jepa"].each / plan["ebm"].each
    used = equal * ITERATIONS / WARM
    return [
        f"**A plan for an episode takes {equal:.1f} times less CPU time than EB-JEPA's at equal iterations, and"
        f" {used:.0f} times less as both are used** (wanted: 10): theirs begins each plan from nothing and takes"
        f" {ITERATIONS} iterations, ours begins where the last plan ended and takes {WARM}. That these plans succeed"
        " as often is not measured here: see [the anchor](anchor.md).",
        f"An episode of 200 steps with {ITERATIONS} iterations of theirs:"
        f" {200 * ITERATIONS * plan['eb_jepa'].each:,.0f} CPU seconds; with {WARM} of ours:"
        f" {200 * WARM * plan['ebm'].each:,.0f}. The recurrent unit's products with its state are {PRODUCTS:.0f}"
        f" GFLOP in an iteration for an episode, so that ours does {PRODUCTS / plan['ebm'].each:.0f} GFLOP a second"
        " on one core, all else included: at equal iterations, on this model and in single precision, there is"
        " little left to save.",
    ]


def write(rows: Sequence[dict[str, object]], told: Sequence[str], options: argparse.Namespace) -> None:
    """The figures as CSV, and as a page to read."""
    options.results.mkdir(parents=True, exist_ok=True)
    with (options.results / "planning_speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    parts = [
        "# Speed of planning",
        *told,
        _how(options),
        f"Machine: {machine()}.",
        f"Versions: {versions(('torch',))}.",
    ]
    parts += [f"Made on {datetime.now(UTC):%Y-%m-%d} by `{options.command}`.", table(rows)]
    (options.results / "planning_speed.md").write_text("\n\n".join(parts) + "\n")


def table(rows: Sequence[dict[str, object]]) -> str:
    """A Markdown table."""
    lines = [[name.replace("_", " ") for name in rows[0]], ["---"] * len(rows[0])]
    lines += [[str(value) for value in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _how(options: argparse.Namespace) -> str:
    return (
        "CPU time of the process, one thread, float32: medians of rounds in which the methods of a task take turns"
        " in an order drawn anew, after one call that is not measured and compiles what is compiled. `times ours`"
        " is that of `ebm` uncompiled. A trajectory comes with its pictures; EB-JEPA simulates 91 steps and keeps"
        f" 17. Steps are of {options.copies:,} copies at once, without pictures unless it says so. EB-JEPA's code is"
        " as it comes, its model has random weights, and both planners have that model, 200 candidates of 90"
        " actions, and the cost that sums over steps."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write what was measured, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--eb-jepa", type=Path, help="a folder with facebookresearch/eb_jepa")
    parser.add_argument("--rounds", type=int, default=5, help="times that each method is timed (%(default)s)")
    parser.add_argument("--episodes", type=int, default=4, help="planned for at once (%(default)s)")
    parser.add_argument("--copies", type=int, default=4096, help="of a world, that step at once (%(default)s)")
    parser.add_argument("--compiled", default="TwoRooms,WallRooms", help="worlds to compile too (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one short round, nothing compiled, nothing written")
    parser.add_argument("--results", type=Path, help=f"folder to write to (default {RESULTS})")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    options.command = shlex.join(["python", "benchmarks/speed/planning.py", *given])
    torch.set_num_threads(1)
    found = None if options.eb_jepa is None else peer(options.eb_jepa)
    small = {"horizon": 4, "population": 20, "iterations": 1}
    full = {"horizon": HORIZON, "population": POPULATION, "iterations": 2}
    copies, compiled = (64, []) if options.quick else (options.copies, options.compiled.split(","))
    timed = [
        *data(found, 8 if options.quick else 48),
        *plans(found, options.episodes, **(small if options.quick else full)),
        *steps(found, copies, compiled),
    ]
    measure(timed, 1 if options.quick else options.rounds)
    rows, told = records(timed), episode(timed)
    if not options.quick:
        options.results = options.results or RESULTS
        write(rows, told, options)
    print("\n\n".join([table(rows), *told]))


if __name__ == "__main__":
    main()
