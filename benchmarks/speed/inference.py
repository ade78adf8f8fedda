"""Time `ebm.minimize` against what else solves a batch of small minimisations, until every sample is solved.

    python benchmarks/speed/inference.py                     # everything, into benchmarks/results
    python benchmarks/speed/inference.py --only decoder      # one table, printed
    python benchmarks/speed/inference.py --quick             # a few seconds, to see that it runs

Peers that are not installed are skipped with a note; `pip install scipy botorch pytorch-minimize jax optimistix`
has them all.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import peers
import problems
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid
from tables import COLUMNS, Table, write_csv, write_markdown
from threadpoolctl import threadpool_limits
from timing import TOLERANCE, Case, Energy, Method, measure
from torch import Tensor

import ebm

RESULTS = Path(__file__).parents[1] / "results"
SPECTRAL = ebm.BarzilaiBorwein(tolerance=TOLERANCE)  # what takes the least time for a sparse code like this one
Prepare = Callable[[problems.Problem, int], Method]  # tunes a method for a problem; the number is its limit of calls


@dataclass(frozen=True)
class Entry:
    """A method of a row, and how many times the time of ours it is wanted to take."""

    prepare: Prepare
    wanted: float | None = None
    batch: int = 256


@dataclass(frozen=True)
class Row:
    """One question: a problem, ours first, and what it is compared with."""

    name: str
    title: str
    problem: Callable[[int], problems.Problem]
    entries: tuple[Entry, ...]
    dtype: torch.dtype = torch.float64
    compiled: bool = False


def ours(
    problem: problems.Problem,
    limit: int,
    compiled: bool = False,
    gathers: bool = True,
    solver: ebm.solvers.Solver | None = None,
) -> Method:
    """`ebm.minimize` by what it takes unless told: BFGS for so few features, ProximalLBFGS under a penalty.

    With `gathers` false the function binds what is given, so that samples that have ended cannot be left out.
    """
    penalty = ebm.L1(problem.penalty) if problem.penalty else None
    chosen = solver or (ebm.ProximalLBFGS(tolerance=TOLERANCE) if penalty else ebm.BFGS(tolerance=TOLERANCE))

    def solve(energy: Energy) -> Tensor:
        def bound(z: Tensor) -> Tensor:
            return energy(z, *problem.given)

        fn, given = (energy, problem.given) if gathers else (bound, None)
        return ebm.minimize(fn, problem.start, chosen, given=given, penalty=penalty, compile=compiled).z

    name = "ebm.minimize" + ", compiled" * compiled + ", no sample left out" * (not gathers)
    accelerated = "" if getattr(chosen, "accelerated", True) else ", not accelerated"
    return Method(name, solve, type(chosen).__name__ + accelerated, compiled=compiled)


def _alone(name: str, solver: ebm.solvers.Solver | None = None) -> Row:
    """A row that compares ours at a large batch with itself at a small one, per sample."""
    method = partial(ours, solver=solver)
    entries = (Entry(method, batch=8192), Entry(method, 2), Entry(partial(method, gathers=False), 1, batch=8192))
    return Row(f"{name}-batch", f"{name}: time per sample of a large batch", getattr(problems, name), entries)


def _single(name: str) -> Row:
    """A row in float32, where what matters is how many samples each method solves."""
    methods = (ours, peers.summed_lbfgs, peers.scipy_concatenated, peers.botorch_batched)
    entries = tuple(Entry(method) for method in methods)
    return Row(f"{name}-float32", f"{name} in float32", getattr(problems, name), entries, torch.float32)


def _compiled(name: str, wanted: float) -> Row:
    entries = (Entry(partial(ours, compiled=True)), Entry(ours), Entry(peers.optimistix_lbfgs, wanted))
    return Row(f"{name}-compiled", f"{name}, compiled", getattr(problems, name), entries, compiled=True)


ROWS = (
    Row(
        "decoder",
        "A 16-d latent of a decoder",
        problems.decoder,
        (
            Entry(ours),
            Entry(partial(ours, solver=ebm.LBFGS(tolerance=TOLERANCE))),
            Entry(peers.summed_lbfgs, 2),
            Entry(peers.best_adam, 2.3),
            Entry(peers.adam, 9),
            Entry(peers.scipy_loop, 25),
        ),
    ),
    Row(
        "unequal",
        "The same, of unequal curvature per sample",
        problems.unequal,
        (
            Entry(ours),
            Entry(partial(ours, solver=ebm.LBFGS(tolerance=TOLERANCE))),
            Entry(peers.summed_lbfgs, 8),
            Entry(peers.best_adam, 7),
            Entry(peers.botorch_batched, 1.5),
        ),
    ),
    Row(
        "rosenbrock",
        "Rosenbrock in ten dimensions",
        problems.rosenbrock,
        (
            Entry(ours),
            Entry(partial(ours, solver=ebm.LBFGS(tolerance=TOLERANCE))),
            Entry(peers.summed_lbfgs, 2),
            Entry(peers.botorch_batched, 1.7),
            Entry(peers.torchmin_loop, 50),
        ),
    ),
    _compiled("decoder", 3),
    _compiled("rosenbrock", 0.5),
    Row(
        "sparse",
        "A sparse code, 128 atoms",
        problems.sparse,
        (
            Entry(partial(ours, solver=SPECTRAL)),
            Entry(ours),
            Entry(partial(ours, solver=ebm.ProximalGradient(tolerance=TOLERANCE))),
            Entry(partial(ours, solver=ebm.ProximalGradient(accelerated=False, tolerance=TOLERANCE))),
            Entry(peers.ista, 8),
            Entry(peers.best_adam, float("inf")),
        ),
    ),
    *(_alone(name) for name in ("decoder", "unequal", "rosenbrock")),
    _alone("sparse", SPECTRAL),
    *(_single(name) for name in ("decoder", "rosenbrock")),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the rows that were asked for, write them, and print them."""
    options = _options(arguments)
    torch.set_num_threads(1)
    threadpool_limits(1)
    for table in _measure_all(options):
        _print(table)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times that each method is timed (default 5)")
    parser.add_argument("--only", nargs="+", metavar="ROW", choices=[row.name for row in ROWS], help="%(choices)s")
    parser.add_argument("--limit", type=int, default=5000, help="calls of the energy a peer may take (default 5000)")
    parser.add_argument("--device", default="cpu", help="cpu (default: timed by the CPU time of one thread) or cuda")
    parser.add_argument("--quick", action="store_true", help="batches of 8, one round, nothing compiled")
    parser.add_argument("--results", type=Path, help="folder to write to (benchmarks/results if all rows are run)")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    options.command = shlex.join(["python", "benchmarks/speed/inference.py", *given])
    if options.quick:
        options.rounds, options.limit = 1, min(options.limit, 1000)
    elif options.results is None and not options.only:
        options.results = RESULTS
    return options


def _measure_all(options: argparse.Namespace) -> list[Table]:
    rows = [row for row in ROWS if not options.only or row.name in options.only]
    rows = [row for row in rows if not (options.quick and row.compiled)]
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    tables: list[Table] = []
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=len(rows))
        for row in rows:
            tables.append(_measure(row, options, partial(_tell, progress, bar, row)))
            progress.advance(bar)
            _write(tables, options)
    return tables


def _tell(progress: Progress, bar: TaskID, row: Row, what: str) -> None:
    progress.update(bar, description=f"{row.name}: {what}", refresh=True)


def _measure(row: Row, options: argparse.Namespace, tell: Callable[[str], None]) -> Table:
    table, cases = Table(row.name, row.title), []
    for entry in row.entries:
        tell("preparing")
        batch = max(8, entry.batch // 256) if options.quick else entry.batch
        problem = row.problem(batch).to(row.dtype).to(torch.device(options.device))
        try:
            method = entry.prepare(problem, options.limit)
        except ImportError as error:
            table.notes.append(f"Skipped: {error}.")
            continue
        cases.append(Case(problem, method, None if options.quick else entry.wanted))
    table.measurements = measure(cases, options.rounds, tell)
    return table


def _write(tables: Sequence[Table], options: argparse.Namespace) -> None:
    """After each table, so that a run that is interrupted leaves what it has measured."""
    if options.results is None:
        return
    options.results.mkdir(parents=True, exist_ok=True)
    write_csv(tables, options.results / "inference_speed.csv")
    write_markdown(tables, options.results / "inference_speed.md", options.command, _how(options))


def _print(table: Table) -> None:
    grid = Grid(*COLUMNS, title=table.title, title_justify="left")
    for measurement in table.measurements:
        grid.add_row(*table.cells(measurement))
    console = Console(width=None if sys.stdout.isatty() else 180)
    if table.measurements:
        console.print(grid)
    for note in table.remarks():
        console.print(f"{table.title}: {note}")


def _how(options: argparse.Namespace) -> str:
    clock = "CPU time of the process, one thread" if options.device == "cpu" else "seconds on the wall"
    return (
        f"Time until every sample has `max |dE/dz| <= {TOLERANCE:g}` (for the sparse code, the proximal gradient), by a"
        " plain evaluation at the answer, never by the solver's own word. A method that leaves samples above it within"
        f" {options.limit:,} calls of the energy has an infinite ratio. Times: {clock}, the median of {options.rounds}"
        " rounds in each of which the methods of a table take turns in an order drawn anew; loops over samples, and"
        " Adam on a subgradient, once. `times ours` is the ratio of times per sample to the first line of the table,"
        " `wanted` the least that it should be. Rates, histories and tolerances of peers are tuned beforehand, outside"
        " the time. `calls` are batched evaluations of the energy and `rows` those of single samples, which no noise"
        " touches; compiled methods are not counted. `first call s` is seconds on the wall with the compilation."
    )


if __name__ == "__main__":
    main()
