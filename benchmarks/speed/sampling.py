"""Time steps of Langevin and Hamiltonian sampling against torchebm, ebmkit and a bare loop.

    python benchmarks/speed/sampling.py            # everything, into benchmarks/results
    python benchmarks/speed/sampling.py --quick    # a few seconds, to see that it runs; nothing is written

Peers that are not installed are skipped with a note; `pip install torchebm ebmkit` has them. ebmkit's modules are
named `ebm` as this package's are: they are imported aside, and this package must be first on the path.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.metadata
import math
import random
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import torch
from tables import machine, versions
from torch import Tensor, nn

from ebm.sample import sample
from ebm.samplers import Hamiltonian, Langevin, Sampler

RESULTS = Path(__file__).parents[1] / "results"
LANGEVIN, HAMILTONIAN = Langevin(0.01), Hamiltonian(0.1, leapfrog_steps=10)
Energy = Callable[[Tensor], Tensor]  # (batch, features) -> (batch,)
Run = Callable[[Energy, Tensor, int], object]  # the energy, where to start, how many steps


@dataclass(frozen=True)
class Case:
    """A method on an energy, and how many times the time of ours it is wanted to take."""

    method: str
    sampler: Sampler
    run: Run
    wanted: float | None = None


@dataclass
class Timing:
    """What came of a case on one energy."""

    case: Case
    energy: str
    shape: tuple[int, ...]
    steps: int
    evaluations: float | None = None
    first_call: float = 0.0
    seconds: list[float] = field(default_factory=list)

    @property
    def microseconds(self) -> float:
        """The median time of a step."""
        return statistics.median(self.seconds) / self.steps * 1e6


class Counted:
    """An energy that counts its calls."""

    def __init__(self, energy: Energy) -> None:
        self.energy, self.calls = energy, 0

    def __call__(self, z: Tensor) -> Tensor:
        self.calls += 1
        return self.energy(z)


def gaussian(features: int) -> Energy:
    """A quadratic of curvatures between 1 and 4: next to nothing, so that what is around it counts."""
    curvatures = torch.linspace(1, 4, features)
    return lambda z: (curvatures * z.square()).sum(-1) / 2


def network(features: int) -> Energy:
    """A perceptron of two hidden layers of 128, in a quadratic bowl."""
    layers = [nn.Linear(features, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU(), nn.Linear(128, 1)]
    net = nn.Sequential(*layers)
    return lambda z: net(z)[:, 0] + z.square().sum(-1) / 2


def ours(sampler: Sampler, compiled: bool) -> Run:
    """`ebm.sample`, keeping the last draw, as the others do."""

    def run(energy: Energy, start: Tensor, steps: int) -> object:
        return sample(energy, start, sampler, draws=1, warmup=steps - 1, given=(), compile=compiled)

    return run


def bare_langevin(energy: Energy, z: Tensor, steps: int) -> Tensor:
    """What one would write by hand."""
    rate = LANGEVIN.step_size
    for _ in range(steps):
        _, slope = _slope(energy, z)
        z = z - rate * slope + math.sqrt(2 * rate) * torch.randn_like(z)
    return z


def bare_hamiltonian(energy: Energy, z: Tensor, steps: int) -> Tensor:
    """What one would write by hand who knows that the last gradient need not be taken twice."""
    size, count = HAMILTONIAN.step_size, HAMILTONIAN.leapfrog_steps
    level, slope = _slope(energy, z)
    for _ in range(steps):
        momentum = torch.randn_like(z)
        before = level + momentum.square().sum(-1) / 2
        new_z, new_slope = z, slope
        for _ in range(count):
            momentum = momentum - size / 2 * new_slope
            new_z = new_z + size * momentum
            new_level, new_slope = _slope(energy, new_z)
            momentum = momentum - size / 2 * new_slope
        taken = torch.rand_like(before).log() < before - new_level - momentum.square().sum(-1) / 2
        z, slope = torch.where(taken[:, None], new_z, z), torch.where(taken[:, None], new_slope, slope)
        level = torch.where(taken, new_level, level)
    return z


def _slope(energy: Energy, z: Tensor) -> tuple[Tensor, Tensor]:
    leaf = z.detach().requires_grad_()
    levels = energy(leaf)
    (slope,) = torch.autograd.grad(levels.sum(), leaf)
    return levels.detach(), slope


def torchebm_cases() -> list[Case]:
    """The samplers of torchebm, on its class of models. Raises ImportError where it is not installed."""
    core, samplers = importlib.import_module("torchebm.core"), importlib.import_module("torchebm.samplers")

    class Model(core.BaseModel):  # type: ignore[misc, name-defined]
        def __init__(self, energy: Energy) -> None:
            super().__init__()
            self.energy = energy

        def forward(self, x: Tensor) -> Tensor:
            return self.energy(x)

    def langevin(energy: Energy, start: Tensor, steps: int) -> object:
        return samplers.LangevinDynamics(Model(energy), step_size=LANGEVIN.step_size).sample(start, n_steps=steps)

    def hamiltonian(energy: Energy, start: Tensor, steps: int) -> object:
        settings = {"step_size": HAMILTONIAN.step_size, "n_leapfrog_steps": HAMILTONIAN.leapfrog_steps}
        return samplers.HamiltonianMonteCarlo(Model(energy), **settings).sample(start, n_steps=steps)

    return [Case("torchebm", LANGEVIN, langevin, 1.1), Case("torchebm", HAMILTONIAN, hamiltonian, 1.1)]


def ebmkit_cases() -> list[Case]:
    """The samplers of ebmkit. Raises ImportError where it is not installed."""
    samplers = _import_ebmkit()

    def langevin(energy: Energy, start: Tensor, steps: int) -> object:
        return samplers.LangevinDynamics(step_size=LANGEVIN.step_size, steps=steps).sample(energy, start)

    def hamiltonian(energy: Energy, start: Tensor, steps: int) -> object:
        size, count = HAMILTONIAN.step_size, HAMILTONIAN.leapfrog_steps
        return samplers.HMC(step_size=size, leapfrog_steps=count, steps=steps).sample(energy, start)

    return [Case("ebmkit", LANGEVIN, langevin, 1.1), Case("ebmkit", HAMILTONIAN, hamiltonian, 1.1)]


def _import_ebmkit() -> ModuleType:
    """Import the other package named `ebm` from where it is installed, and leave this one imported."""
    try:
        folder = str(importlib.metadata.distribution("ebmkit").locate_file(""))
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError("ebmkit is not installed") from error
    kept = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "ebm"}
    for name in kept:
        del sys.modules[name]
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("ebm.samplers")
    finally:
        sys.path.remove(folder)
        for name in [name for name in sys.modules if name.split(".")[0] == "ebm"]:
            del sys.modules[name]
        sys.modules.update(kept)


def all_cases(compiled: bool) -> tuple[list[Case], list[str]]:
    """Every method that can be had, and notes on those that cannot."""
    bare = [(LANGEVIN, bare_langevin), (HAMILTONIAN, bare_hamiltonian)]
    cases = [Case("ebm", sampler, ours(sampler, False)) for sampler, _ in bare]
    if compiled:
        cases += [Case("ebm, compiled", sampler, ours(sampler, True)) for sampler, _ in bare]
    cases += [Case("bare loop", sampler, run, 0.95) for sampler, run in bare]
    notes = []
    for peer in (torchebm_cases, ebmkit_cases):
        try:
            cases += peer()
        except ImportError as error:
            notes.append(f"Skipped: {error}.")
    return cases, notes


def measure(cases: Sequence[Case], options: argparse.Namespace) -> list[Timing]:
    """Every case on every energy: those of one sampler and energy take turns, in an order drawn anew each round."""
    timings = []
    for name, energy in {"gaussian": gaussian(16), "network": network(16)}.items():
        for sampler in (LANGEVIN, HAMILTONIAN):
            start = torch.randn(options.batch, 16)
            steps = max(16, options.steps // sampler.evaluations // 16 * 16)
            group = [Timing(case, name, tuple(start.shape), steps) for case in cases if case.sampler == sampler]
            for timing in group:
                _count(timing, energy, start)
            for turn in range(options.rounds):
                random.Random(turn).shuffle(group)
                for timing in group:
                    timing.seconds.append(_time(timing, energy, start))
            timings += sorted(group, key=lambda timing: list(cases).index(timing.case))
            print(f"{name}, {type(sampler).__name__}: measured", file=sys.stderr)
    return timings


def _count(timing: Timing, energy: Energy, start: Tensor) -> None:
    """Run once unmeasured, which compiles, and count the evaluations of a step where they can be."""
    began = time.perf_counter()
    timing.case.run(energy, start, timing.steps)
    timing.first_call = time.perf_counter() - began
    if "compiled" not in timing.case.method:
        short, long = Counted(energy), Counted(energy)
        timing.case.run(short, start, 16)
        timing.case.run(long, start, 32)
        timing.evaluations = (long.calls - short.calls) / 16


def _time(timing: Timing, energy: Energy, start: Tensor) -> float:
    began = time.process_time()
    timing.case.run(energy, start, timing.steps)
    return time.process_time() - began


def records(timings: Sequence[Timing]) -> list[dict[str, object]]:
    """A row of figures each; ratios are to the eager and to the compiled time of ours on the same energy."""
    rows = []
    for timing in timings:
        same = [
            other for other in timings if (other.energy, other.case.sampler) == (timing.energy, timing.case.sampler)
        ]
        eager = next(other for other in same if other.case.method == "ebm").microseconds
        compiled = [other.microseconds for other in same if other.case.method == "ebm, compiled"]
        ratio, wanted = timing.microseconds / eager, timing.case.wanted
        rows.append(
            {
                "sampler": type(timing.case.sampler).__name__,
                "energy": timing.energy,
                "batch": timing.shape[0],
                "features": timing.shape[1],
                "method": timing.case.method,
                "evaluations_per_step": timing.evaluations,
                "microseconds_per_step": round(timing.microseconds, 1),
                "lowest": round(min(timing.seconds) / timing.steps * 1e6, 1),
                "highest": round(max(timing.seconds) / timing.steps * 1e6, 1),
                "rounds": len(timing.seconds),
                "times_ours": round(ratio, 3),
                "wanted": wanted,
                "met": "" if wanted is None else "yes" if ratio >= wanted else "no",
                "times_ours_compiled": round(timing.microseconds / compiled[0], 3) if compiled else None,
                "first_call_seconds": round(timing.first_call, 2),
            }
        )
    return rows


def write(rows: Sequence[dict[str, object]], notes: Sequence[str], options: argparse.Namespace) -> None:
    """The figures as CSV, and as a page to read."""
    options.results.mkdir(parents=True, exist_ok=True)
    with (options.results / "sampling_speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        "# Speed of sampling",
        "",
        _how(options),
        "",
        f"Machine: {machine()}.",
        "",
        f"Versions: {versions(('torch', 'torchebm', 'ebmkit'))}.",
    ]
    lines += ["", f"Made on {datetime.now(UTC):%Y-%m-%d} by `{options.command}`.", ""]
    lines += [*table(rows), *(f"\n*{note}*" for note in notes)]
    (options.results / "sampling_speed.md").write_text("\n".join(lines) + "\n")


def table(rows: Sequence[dict[str, object]]) -> list[str]:
    """The lines of a Markdown table."""
    names = [name.replace("_", " ") for name in rows[0]]
    cells = [["" if value is None else str(value) for value in row.values()] for row in rows]
    return ["| " + " | ".join(line) + " |" for line in [names, ["---"] * len(names), *cells]]


def _how(options: argparse.Namespace) -> str:
    return (
        f"Microseconds of CPU time of the process, one thread, for one step of {options.batch} chains in 16 dimensions,"
        f" float32: the median of {options.rounds} rounds, in each of which the methods take turns in an order drawn"
        " anew. A Hamiltonian step is ten leapfrogs. Each keeps its last point alone. `times ours` is the time of a"
        " method over that of `ebm` uncompiled, `wanted` the least that it should be, `times ours compiled` the same"
        " over `ebm, compiled`, wanted to be 2 or more for the faster peer. The first call of a compiled method"
        " compiles; its seconds are on the wall."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write what was measured, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="times that each method is timed (default 9)")
    parser.add_argument("--steps", type=int, default=640, help="evaluations of each run, or so (default 640)")
    parser.add_argument("--batch", type=int, default=64, help="chains (default 64)")
    parser.add_argument("--quick", action="store_true", help="one short round, nothing compiled, nothing written")
    parser.add_argument("--results", type=Path, help=f"folder to write to (default {RESULTS})")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    options.command = shlex.join(["python", "benchmarks/speed/sampling.py", *given])
    if options.quick:
        options.rounds, options.steps = 1, 32
    elif options.results is None:
        options.results = RESULTS
    torch.set_num_threads(1)
    torch.manual_seed(0)
    cases, notes = all_cases(compiled=not options.quick)
    rows = records(measure(cases, options))
    if options.results is not None:
        write(rows, notes, options)
    print("\n".join([*table(rows), *notes]))


if __name__ == "__main__":
    main()
