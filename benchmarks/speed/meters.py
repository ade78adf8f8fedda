"""The time of every meter of codes, and of those that other libraries have too beside theirs.

    python benchmarks/speed/meters.py            # everything, into benchmarks/results
    python benchmarks/speed/meters.py --quick    # a few seconds, to see that it runs; nothing is written

Peers that are not installed are skipped with a note: `pip install --no-deps stable-pretraining loguru dcor numba
llvmlite array_api_compat` has all that is needed of them.
"""

from __future__ import annotations

import argparse
import inspect
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

import pandas as pd
import torch
from losses_time import seconds
from meters_peers import COMPARED, Reading, codes_of
from sampling import table
from tables import machine, versions
from torch import Tensor

import ebm.meters
from ebm import FreeEnergy
from ebm.energies import JointEmbedding

RESULTS = Path(__file__).parents[1] / "results"
SHAPES = ((10_000, 512), (2_000, 64))
MOST = 2.0  # seconds that a meter may take on the first of them
SLOW = 20.0  # seconds of a call after which there is no other
THREADS = 2
LIBRARIES = ("torch", "stable-pretraining", "dcor", "scikit-learn", "scipy", "numpy")


@dataclass
class Line:
    """What came of one way to read codes of one shape."""

    section: str
    name: str
    make: Callable[[], Reading]
    shape: tuple[int, int]
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    reading: float = math.nan
    error: str = ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write what was measured, and print it."""
    options = _options(arguments)
    torch.set_num_threads(THREADS)
    lines: list[Line] = []
    for shape in options.shapes:
        for section, makers in ({"Every meter": everything()} | COMPARED).items():
            lines += measure([Line(section, name, make, shape) for name, make in makers.items()], options.rounds)
            _write(lines, options)
            print(f"{section}, {shape}: measured", file=sys.stderr, flush=True)
    print("\n\n".join(page(lines, options)))


def _write(lines: Sequence[Line], options: argparse.Namespace) -> None:
    """After each section, so that a run that is interrupted leaves what it has measured."""
    if options.results is None:
        return
    options.results.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame([{"section": line.section} | record(line, lines) for line in lines])
    frame.to_csv(options.results / "meters_speed.csv", index=False)
    (options.results / "meters_speed.md").write_text("\n\n".join(page(lines, options)) + "\n")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times that each is timed (default 5)")
    parser.add_argument("--quick", action="store_true", help="few codes, one round; nothing is written unless asked")
    parser.add_argument("--results", type=Path, help=f"folder to write to (default {RESULTS})")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    options.command = shlex.join(["python", "benchmarks/speed/meters.py", *given])
    options.shapes = ((300, 16),) if options.quick else SHAPES
    if options.quick:
        options.rounds = 1
    elif options.results is None:
        options.results = RESULTS
    return options


def everything() -> dict[str, Callable[[], Reading]]:
    """Every meter `(F, hx, hy)` that the package exports and that takes any codes, by its name; F is their distance."""
    F, found = FreeEnergy(JointEmbedding(torch.nn.Identity())), {}
    for name, fn in vars(ebm.meters).items():
        if inspect.isfunction(fn) and list(inspect.signature(fn).parameters) == ["F", "hx", "hy"] and _reads(fn, F):
            found[name] = lambda fn=fn: lambda codes: _first(fn(F, codes.flip(0), codes))
    return found | {"diagnose": lambda: lambda codes: float(len(ebm.meters.diagnose(F, codes.flip(0), codes).kinds))}


def _reads(fn: Callable[..., dict[str, float]], F: FreeEnergy) -> bool:
    """Whether it takes them, and is not for points of the plane or bits alone."""
    try:
        return bool(fn(F, codes_of((12, 4)), codes_of((12, 4))))
    except ValueError:
        return False


def _first(numbers: dict[str, float]) -> float:
    return next(iter(numbers.values()))


def measure(lines: list[Line], rounds: int) -> list[Line]:
    """Call each once a round, in an order drawn anew in each, after a first that counts if it is slow."""
    codes = codes_of(lines[0].shape)
    going: list[tuple[Line, Reading]] = []
    for line in lines:
        try:
            read = line.make()
            line.reading = _timed(line, read, codes)
        except Exception as error:  # one that is missing or fails is a finding, and must not cost the others
            line.error = f"{type(error).__name__}: {error}".splitlines()[0]
            continue
        if line.wall[0] < SLOW:
            going.append((line, read))
            line.cpu, line.wall = [], []
    for turn in range(rounds):
        for line, read in random.Random(turn).sample(going, len(going)):
            _timed(line, read, codes)
    return lines


def _timed(line: Line, read: Reading, codes: Tensor) -> float:
    found: list[float] = []
    began = time.perf_counter()
    line.cpu.append(seconds(lambda: found.append(read(codes)), "cpu"))
    line.wall.append(time.perf_counter() - began)
    return found[0]


def record(line: Line, lines: Sequence[Line]) -> dict[str, object]:
    """A row of figures."""
    row: dict[str, object] = {"meter": line.name, "codes": line.shape[0], "features": line.shape[1]}
    if line.error:
        return row | {"wall ms": None, "lowest": None, "CPU ms": None, "reading": None, "times ours": None}
    row |= {"wall ms": _ms(line.wall), "lowest": f"{min(line.wall) * 1e3:.3g}", "CPU ms": _ms(line.cpu)}
    row["reading"] = f"{line.reading:.4g}"
    ours = [each for each in lines if (each.section, each.shape, each.name) == (line.section, line.shape, "ebm")]
    ratio = statistics.median(line.cpu) / statistics.median(ours[0].cpu) if ours and not ours[0].error else None
    return row | {"times ours": None if ratio is None else f"{ratio:.3g}"}


def _ms(times: Sequence[float]) -> str:
    return f"{statistics.median(times) * 1e3:.3g}"


def page(lines: Sequence[Line], options: argparse.Namespace) -> list[str]:
    """The paragraphs of the page."""
    first = options.shapes[0]
    mine = [line for line in lines if line.section == "Every meter" and line.shape == first and not line.error]
    slow = [line.name for line in mine if statistics.median(line.wall) > MOST]
    paragraphs = [
        "# Speed of meters",
        f"Milliseconds on {THREADS} threads, by the wall and of CPU time of the process: medians of {options.rounds}"
        f" rounds, in each of which the methods take turns in an order drawn anew; those that take more than {SLOW:g} s"
        " are called once. Normal codes in single precision. `times ours` is the ratio of CPU times; `reading` the"
        " first number that each reads, which differs where formulas do. Meters with their default arguments.",
        f"On {first[0]:,} x {first[1]} codes {len(mine) - len(slow)} of {len(mine)} meters take less than {MOST:g} s"
        + (f"; not {', '.join(slow)}." if slow else "."),
    ]
    for section in dict.fromkeys(line.section for line in lines):
        rows = [line for line in lines if line.section == section]
        paragraphs += [f"## {section}", "\n".join(table([record(line, rows) for line in rows]))]
        paragraphs += [
            f"*{note}*" for note in dict.fromkeys(f"{line.name}: {line.error}" for line in rows if line.error)
        ]
    return [
        *paragraphs,
        f"Machine: {machine()}. Versions: {versions(LIBRARIES)}.",
        f"Made on {datetime.now(UTC):%Y-%m-%d} by `{options.command}`.",
    ]


if __name__ == "__main__":
    main()
