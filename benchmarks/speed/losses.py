"""Time and memory of losses and regularizers, forward and backward, against what others have.

    python benchmarks/speed/losses.py                    # everything, into benchmarks/results
    python benchmarks/speed/losses.py --device cuda --compile --dtype bfloat16
    python benchmarks/speed/losses.py --quick            # a few seconds, to see that it runs; nothing is written

Peers that are not installed are skipped with a note: `pip install --no-deps lightly solo-learn stable-pretraining
loguru` has all that is needed of them. Times on a CPU are those of the process, one thread; on CUDA, between events.
"""

from __future__ import annotations

import argparse
import csv
import math
import random
import shlex
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch
from losses_catalogue import TABLES, codes, step
from losses_memory import Memory
from losses_share import share
from losses_time import seconds
from sampling import table
from tables import machine, versions

RESULTS = Path(__file__).parents[1] / "results"
LIBRARIES = ("torch", "lightly", "solo-learn", "stable-pretraining")
SHAPES = ((256, 2048), (256, 8192), (1024, 2048), (1024, 4096))
WANTED = {"VICReg": (8, 40, 2.5, 6), "Barlow Twins": (7, 40, 1.5, 4)}  # the best peer's time over ours, at SHAPES
WANTED_MEBIBYTES = {(256, 8192): 60.0}
SLOW = 5.0  # seconds of a call after which there is no other
GROWING_BATCH = ((1024, 2048), (4096, 2048), (16384, 2048))
GROWING_FEATURES = ((256, 2048), (256, 8192), (256, 32768), (256, 65536))
CONTRASTING = ((1024, 128), (4096, 128), (16384, 128))


@dataclass
class Line:
    """What came of one method on codes of one shape."""

    table: str
    method: str
    shape: tuple[int, int]
    compiled: bool = False
    times: list[float] = field(default_factory=list)
    mebibytes: float | None = None
    error: str = ""

    @property
    def name(self) -> str:
        """The method, and whether it is compiled."""
        return self.method + ", compiled" * self.compiled

    @property
    def median(self) -> float:
        """Seconds of a call; NaN if there was none."""
        return statistics.median(self.times) if self.times else math.nan


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, write what was measured, and print it."""
    options = _options(arguments)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sections: dict[str, list[Line]] = {}
    with Memory(options.device, options.dtype) as memory:
        for title, groups in _plan(options).items():
            sections[title] = [line for group in groups for line in _measure(group, memory, options)]
            _write(sections, options)
    print("\n".join(_page(sections, options)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="times that each method is timed (default 7)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="default cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16", "float64"])
    parser.add_argument("--compile", action="store_true", help="each method of the comparison compiled too")
    parser.add_argument("--quick", action="store_true", help="small codes, one round; nothing is written unless asked")
    parser.add_argument("--results", type=Path, help=f"folder to write to (default {RESULTS})")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    options.command = shlex.join(["python", "benchmarks/speed/losses.py", *given])
    options.dtype = getattr(torch, options.dtype)
    if options.quick:
        options.rounds = 1
    elif options.results is None:
        options.results = RESULTS
    return options


def _plan(options: argparse.Namespace) -> dict[str, list[list[Line]]]:
    """What to measure, by title: groups of lines that take turns."""
    shapes, all_at = (((64, 256),), (64, 256)) if options.quick else (SHAPES, SHAPES[0])
    ways = (False, True) if options.compile else (False,)
    plan: dict[str, list[list[Line]]] = {
        name: [[Line(name, method, shape, way) for way in ways for method in TABLES[name]] for shape in shapes]
        for name in WANTED
    }
    plan["All"] = [[Line("All", name, all_at)] for name in TABLES["All"]]
    growing = dict.fromkeys(("Variance", "Covariance", "CrossCorrelation"), (*GROWING_BATCH, *GROWING_FEATURES))
    growing["InfoNCE"] = CONTRASTING
    if options.quick:
        growing = dict.fromkeys(growing, ((64, 128), (128, 128)))
    plan["How cost grows"] = [[Line("All", name, shape)] for name, sizes in growing.items() for shape in sizes]
    return plan


def _measure(lines: list[Line], memory: Memory, options: argparse.Namespace) -> list[Line]:
    """Call every method once a round, in an order drawn anew in each, after a first that counts if it is slow."""
    losses, (x, y) = {}, codes(lines[0].shape, options.device, options.dtype)
    for line in lines:
        try:
            made = TABLES[line.table][line.method]()
            losses[line.name] = torch.compile(made, dynamic=False) if line.compiled else made
            first = seconds(lambda line=line: step(losses[line.name], x, y), options.device)
            line.times = [first] * (first > SLOW)
        except Exception as error:  # a method that is missing or fails is a finding, and must not cost the others
            line.error = f"{type(error).__name__}: {error}".splitlines()[0]
    going = [line for line in lines if not line.error]
    quick = [line for line in going if not line.times]
    for turn in range(options.rounds):
        for line in random.Random(turn).sample(quick, len(quick)):
            line.times.append(seconds(lambda line=line: step(losses[line.name], x, y), options.device))
    x.grad = y.grad = None
    for line in going:
        if not line.compiled or options.device != "cpu":
            line.mebibytes = memory.extra(line.table, line.method, line.shape, losses[line.name])
    print(f"{lines[0].table}, {lines[0].method}, {lines[0].shape}: measured", file=sys.stderr, flush=True)
    return lines


def _records(title: str, lines: Sequence[Line]) -> list[dict[str, object]]:
    """A row of figures each. What is wanted of the best peer stands in its row, what is of ours in ours."""
    rows = []
    for line in (line for line in lines if not line.error):
        row: dict[str, object] = {"method": line.name, "batch": line.shape[0], "features": line.shape[1]}
        row |= {"ms": _short(line.median * 1e3), "lowest": _short(min(line.times) * 1e3)}
        row |= {"highest": _short(max(line.times) * 1e3)}
        if title in WANTED:
            row |= _compared(title, line, [each for each in lines if each.shape == line.shape and not each.error])
        rows.append(row | {"extra MiB": None if line.mebibytes is None else _short(line.mebibytes)})
    return rows


def _compared(title: str, line: Line, group: Sequence[Line]) -> dict[str, object]:
    same = [each for each in group if each.compiled == line.compiled]
    ours, peers = [e for e in same if e.method == "ebm"], [e for e in same if e.method != "ebm"]
    ratio = line.median / ours[0].median if ours else math.nan
    wanted, met = "", ""
    if line.shape in SHAPES and peers and line is min(peers, key=lambda each: each.median):
        least = WANTED[title][SHAPES.index(line.shape)]
        wanted, met = f"{least:g} times", "yes" if ratio >= least else "no"
    if line in ours and line.shape in WANTED_MEBIBYTES and line.mebibytes is not None:
        most = WANTED_MEBIBYTES[line.shape]
        wanted, met = f"{most:g} MiB", "yes" if line.mebibytes <= most else "no"
    return {"times ours": _short(ratio), "wanted": wanted, "met": met}


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _page(sections: dict[str, list[Line]], options: argparse.Namespace) -> list[str]:
    on = torch.cuda.get_device_name() if options.device == "cuda" else machine()
    page = ["# Speed of losses", "", _how(options), "", f"Machine: {on}.", "", f"Versions: {versions(LIBRARIES)}."]
    page += ["", f"Made on {datetime.now(UTC):%Y-%m-%d} by `{options.command}`.", ""]
    for title, lines in sections.items():
        rows = _records(title, lines)
        page += [f"## {title}", "", *(table(rows) if rows else []), ""]
        failed = {f"{line.name}: {line.error}" for line in lines if line.error}
        page += [f"*{note}*\n" for note in sorted(failed)]
    if options.device == "cuda":
        page += ["## Share of a training step", "", *share(options.quick), ""]
    return page


def _write(sections: dict[str, list[Line]], options: argparse.Namespace) -> None:
    """After each section, so that a run that is interrupted leaves what it has measured."""
    if options.results is None:
        return
    options.results.mkdir(parents=True, exist_ok=True)
    name = "losses_speed" + "_cuda" * (options.device == "cuda")
    rows = [{"section": title} | row for title, lines in sections.items() for row in _records(title, lines)]
    with (options.results / f"{name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    (options.results / f"{name}.md").write_text("\n".join(_page(sections, options)).rstrip() + "\n")


def _how(options: argparse.Namespace) -> str:
    clock = "time between events on the device" if options.device == "cuda" else "CPU time of the process, one thread"
    return (
        f"Milliseconds of {clock}, of a forward and a backward call on two branches of codes,"
        f" {str(options.dtype).removeprefix('torch.')}: the median of {options.rounds} rounds, in each of which the"
        " methods of a shape take turns in an order drawn anew, but for those that take more than"
        f" {SLOW:g} s, which are called once. `times ours` is over the time of `ebm`, `wanted` the"
        " least that it should be for the best of the others, or the most memory of ours. `extra MiB` is the highest"
        " memory of such a call, gradients included, above what there was before it: on a CPU that of a process of its"
        " own, which gives freed memory back at once. `official formula` is that of the paper's own code, written out"
        " with its operations; `lightly`, `solo-learn` and `stable-pretraining` are the losses that those libraries"
        " install. solo-learn's VICReg and stable-pretraining's Barlow Twins are not quite the official formulas, at"
        " the same cost. The temperature of losses is their default, their energy the distance of two cosines."
    )


if __name__ == "__main__":
    main()
