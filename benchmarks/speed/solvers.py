"""Which solver for which problem: every solver on problems of many kinds, from one start for each sample.

python benchmarks/speed/solvers.py             # all, into benchmarks/results
python benchmarks/speed/solvers.py --quick     # small batches and nothing written, to see that it runs
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import problems
import torch
from rich.progress import track
from tables import machine, versions
from threadpoolctl import threadpool_limits
from torch import Tensor

import ebm
from ebm.solvers import Solver

RESULTS = Path(__file__).parents[1] / "results"
GRADIENT = (
    *(
        ebm.LBFGS(steps=3000),
        ebm.BFGS(steps=3000),
        ebm.NonlinearConjugateGradients(steps=3000),
        ebm.BarzilaiBorwein(steps=3000),
    ),
    *(ebm.GradientDescent(rate=0.01, momentum=0.9, nesterov=True, steps=3000), ebm.Adam(steps=3000)),
    *(ebm.ProjectedGradient(steps=3000), ebm.ProximalGradient(steps=3000), ebm.ProximalLBFGS(steps=3000)),
    ebm.Newton(),
)
SEARCHES = (ebm.CrossEntropyMethod(population=200, elites=20), ebm.MPPI(population=200))


@dataclass(frozen=True)
class Case:
    """A batch of minimisations, the solvers to try, and what counts as solved."""

    name: str
    fn: Callable[..., Tensor]
    start: Tensor
    solvers: Sequence[Solver]
    solved: Callable[[ebm.Minimum], Tensor]
    given: tuple[Tensor, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)


def _flat(answer: ebm.Minimum) -> Tensor:
    return answer.converged


def _below(level: float) -> Callable[[ebm.Minimum], Tensor]:
    return lambda answer: answer.energy < level


def _timed(name: str, problem: problems.Problem, more: Sequence[Solver] = ()) -> Case:
    penalty = {"penalty": ebm.L1(problem.penalty)} if problem.penalty else {}
    solvers = [solver for solver in GRADIENT if solver.proximal or not penalty]
    return Case(name, problem.energy, problem.start, [*solvers, *more], _flat, problem.given, penalty)


def cases(batch: int) -> list[Case]:
    """The problems, each of a kind that research meets."""
    decoder = problems.decoder(batch)
    squares = ebm.SumOfSquares(lambda z, y: _residuals(decoder, z, y))
    stiff = torch.logspace(0, 4, 1000, dtype=torch.float64)
    far = torch.linspace(-1, 1, 1000, dtype=torch.float64).expand(max(batch // 8, 2), -1)
    starts = 6 * torch.rand(batch, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 3
    book = torch.randn(64, 16, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    boxed = {"within": ebm.Box(-0.5, 0.5)}
    sure = {"within": ebm.Simplex()}
    middle = torch.full_like(decoder.start, 1 / 16)
    return [
        _timed("a decoder, 16 features", decoder),
        Case("the same, as least squares", squares, decoder.start, (ebm.LBFGS(), ebm.GaussNewton()), _flat,
             decoder.given),
        Case("the same, to a gradient of 1e-10", decoder.energy, decoder.start,
             [replace(solver, tolerance=1e-10) for solver in (*GRADIENT[:3], ebm.Newton())], _flat, decoder.given),
        _timed("Rosenbrock's valley, 10 features", problems.rosenbrock(batch)),
        Case("a stiff bowl, 1,000 features", lambda z: (stiff * z.square()).sum(-1) / 2, far,
             [solver for solver in GRADIENT if not isinstance(solver, ebm.Newton | ebm.BFGS)], _flat),
        Case("a decoder within a box", decoder.energy, decoder.start, GRADIENT, _flat, decoder.given, boxed),
        Case("a decoder of probabilities", decoder.energy, middle, GRADIENT, _flat, decoder.given, sure),
        _timed("a sparse code, 128 atoms", problems.sparse(batch)),
        _timed("the same, over atoms that are alike", problems.sparse(batch, alike=2.0)),
        _timed("the same, over atoms of norms from 1 to 0.1", problems.sparse(batch, scales=10.0)),
        Case("a rough energy (Rastrigin, 2 features)", _rastrigin, starts, (ebm.LBFGS(), *SEARCHES), _below(0.1)),
        Case("a step function", lambda z: (4 * z).round().square().sum(-1), starts, SEARCHES, _below(0.5)),
        Case("a code book of 64", lambda z, y: (y - z).square().sum(-1), decoder.start,
             (ebm.Enumeration(book),), _flat, (torch.randn(batch, 16, dtype=torch.float64),)),
    ]  # fmt: skip


def _residuals(decoder: problems.Problem, z: Tensor, y: Tensor) -> Tensor:
    weights1, bias1, weights2, bias2 = decoder.arrays
    return torch.cat([y - (torch.tanh(z @ weights1 + bias1) @ weights2 + bias2), 0.1 * z], -1)


def _rastrigin(z: Tensor) -> Tensor:
    return (10 + z.square() - 10 * (2 * math.pi * z).cos()).sum(-1)


def run(case: Case, solver: Solver, rounds: int) -> dict[str, object]:
    """One line of the table: the share solved, evaluations a sample, and the shortest of several times."""
    seconds = []
    for _ in range(rounds):
        began = time.process_time()
        answer = ebm.minimize(case.fn, case.start, solver, given=case.given, **case.options)
        seconds.append(time.process_time() - began)
    return {
        "problem": case.name,
        "solver": _short(solver),
        "solved": float(case.solved(answer).double().mean()),
        "mean energy": float(answer.energy.mean()),
        "evaluations a sample": float(answer.evaluations.double().mean()),
        "milliseconds": 1e3 * min(seconds),
    }


def _short(solver: Solver) -> str:
    """The solver and what was set of it; tensors are too long to print."""
    told = [
        f"{each.name}={value}"
        for each in fields(solver)  # type: ignore[arg-type]
        if not isinstance(value := getattr(solver, each.name), Tensor) and value != each.default
    ]
    return f"{type(solver).__name__}({', '.join(told)})"


def write(lines: Sequence[dict[str, object]], folder: Path) -> None:
    """The lines as CSV, and as a page with a table for each problem, the quickest that solves most first."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "solvers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    page = [
        *(
            "# Which solver",
            "",
            "By `python benchmarks/speed/solvers.py`: batches of 256 (32 of 1,000 features), float64,",
        ),
        "tolerance 1e-4 on the gradient, CPU time of one thread, the shortest of 3. An evaluation is the energy and",
        "its gradient for one sample (a Hessian costs one for each feature); a search takes energies alone.",
        *("", f"Machine: {machine()}. Versions: {versions()}."),
    ]
    for problem in dict.fromkeys(line["problem"] for line in lines):
        ranked = sorted(
            (line for line in lines if line["problem"] == problem),
            key=lambda line: (-round(float(str(line["solved"])), 2), line["milliseconds"]),
        )
        page += [
            "",
            f"## {problem}",
            "",
            "| solver | solved | mean energy | evaluations a sample | ms |",
            "|---|---|---|---|---|",
        ]
        page += [
            f"| {line['solver']} | {line['solved']:.0%} | {line['mean energy']:.4g} |"
            f" {line['evaluations a sample']:.0f} | {line['milliseconds']:.0f} |"
            for line in ranked
        ]
    (folder / "solvers.md").write_text("\n".join(page) + "\n")


def main() -> None:
    """Run every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="batches of 8, once, and nothing written")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    pairs = [(case, solver) for case in cases(8 if options.quick else 256) for solver in case.solvers]
    lines = [run(case, solver, 1 if options.quick else 3) for case, solver in track(pairs, "solving")]
    if not options.quick:
        write(lines, options.results)
    for line in lines:
        print("  ".join(f"{value:.4g}" if isinstance(value, float) else str(value)[:60] for value in line.values()))


if __name__ == "__main__":
    main()
