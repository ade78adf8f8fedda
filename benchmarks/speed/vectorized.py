"""How long 64 models take that are trained at once, in times of one that is trained by itself.

    python benchmarks/speed/vectorized.py                    # a minute
    python benchmarks/speed/vectorized.py --device cuda
    python benchmarks/speed/vectorized.py --quick            # a few steps, to see that it runs; nothing is written

The models are those of the phase diagrams: `benchmarks/phases.py`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from losses_time import seconds
from torch import Tensor

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))  # what all benchmarks share lies a folder above
from programs.phases import NETWORKS, STUDIES  # noqa: E402
from reporting import common_options, made_by, write_page  # noqa: E402

from ebm.data.pairs import Pairs  # noqa: E402
from ebm.learner import Learner  # noqa: E402
from ebm.study.configuration import build, resolve  # noqa: E402
from ebm.vectorized import Vectorized  # noqa: E402

WANTED = 8.0  # times the time of one, at most, for 64
QUICK = {"models": [4], "batch": [32], "steps": 2, "rounds": 1}
Views = list[tuple[Tensor, Tensor]]


CASES = (  # name, arm, what is varied, options
    ("VICReg", "vicreg", "variance.weight", []),
    ("SimCLR", "simclr", "nt_xent.temperature", []),
    ("LeJEPA, 16 directions", "lejepa", "sigreg.weight", ["--model.regularizers.sigreg.fn.init_args.slices=16"]),
)


class Row(NamedTuple):
    """So many models of one method, and the seconds of a step of all of them and of one alone."""

    method: str
    batch: int
    models: int
    together: float
    alone: float

    @property
    def ratio(self) -> float:
        """How many times the time of one model all of them take."""
        return self.together / self.alone


def step_alone(learner: Learner, steps: int) -> Callable[[Iterator[tuple[Tensor, Tensor]]], None]:
    """So many steps of one learner, as plain a loop as there is."""
    optimizer = learner.optimizer(list(learner.parameters()))

    def train(views: Iterator[tuple[Tensor, Tensor]]) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            torch.stack(list(learner.terms(*next(views))[0].values())).sum().backward()
            optimizer.step()

    return train


def prepared(arm: str, given: Sequence[str], device: str) -> tuple[Learner, Views]:
    """The learner of an arm, and views to train on, which are drawn before the clock runs: they cost both the same."""
    torch.manual_seed(0)
    files = ["--config", str(STUDIES / "digits.yaml"), "--config", str(STUDIES / "arms" / f"{arm}.yaml")]
    parts = build(resolve([*files, *NETWORKS, *given])[0])
    data: Pairs = parts.data
    data.setup("fit")
    views = [data.pairs(rows) for rows, _ in data.train_dataloader()]
    return parts.learner.to(device), [(x.to(device), y.to(device)) for x, y in views]


def measured(
    method: str, arm: str, varied: str, given: Sequence[str], batch: int, options: argparse.Namespace
) -> list[Row]:
    """A row for each number of models; the two ways take turns."""
    learner, views = prepared(arm, [*given, f"--data.batch_size={batch}"], options.device)
    rows = []
    for models in options.models:
        many = Vectorized(learner, {varied: torch.logspace(-1, 1, models)})
        alone = step_alone(deepcopy(learner), options.steps)
        calls = {
            "together": lambda many=many: many.train(cycle(views), options.steps),
            "alone": lambda alone=alone: alone(cycle(views)),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(options.rounds + 1):
            for name, call in calls.items():
                taken = seconds(call, options.device) / options.steps
                times[name] += [taken] * (turn > 0)  # the first round warms up
        medians = {name: statistics.median(found or [taken]) for name, found in times.items()}
        rows.append(Row(method, batch, models, **medians))
        print(
            f"{method}, batch {batch}, {models} models: {rows[-1].ratio:.2f} times the time of one",
            file=sys.stderr,
            flush=True,
        )
    return rows


def lines(rows: Sequence[Row]) -> list[str]:
    """A Markdown table."""
    names = ("method", "batch", "models", "ms a step together", "ms of one alone", "times one", "wanted", "met")
    found = ["| " + " | ".join(names) + " |", "| --- " * len(names) + "|"]
    for row in rows:
        wanted, met = (f"{WANTED:g}", "yes" if row.ratio < WANTED else "no") if row.models == 64 else ("", "")
        found.append(
            f"| {row.method} | {row.batch} | {row.models} | {1e3 * row.together:.3g} | {1e3 * row.alone:.3g}"
            f" | {row.ratio:.3g} | {wanted} | {met} |"
        )
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Time, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="(%(default)s)")
    parser.add_argument("--models", type=int, nargs="+", default=[1, 16, 64, 256], help="trained at once (%(default)s)")
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64], help="rows of a batch (%(default)s)")
    parser.add_argument("--steps", type=int, default=50, help="between two readings of the clock (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="of which the median is taken (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a few steps of a few models; nothing is written")
    options = common_options(parser, arguments, "benchmarks/speed/vectorized.py", HERE.parent / "results", QUICK)
    torch.set_num_threads(1)
    rows = [row for case in CASES for batch in options.batch for row in measured(*case, batch, options)]
    print("\n".join(lines(rows)))
    if options.results is not None:
        name = "vectorized_speed" + "_cuda" * (options.device == "cuda")
        options.results.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(options.results / f"{name}.csv", index=False, float_format="%.6g")
        how = (
            "A training step on batches of digits of 64-32-16 and 16-16-8 networks: of models that differ in one"
            f" number, trained at once by `ebm.vectorized`, and of one alone. Medians of {options.rounds} rounds that"
            f" take turns, of {options.steps} steps each, in"
            f" {'CPU time of one thread' if options.device == 'cpu' else 'time between events on the device'}."
            " Views are drawn before."
        )
        write_page(
            options.results / f"{name}.md",
            "Many models at once",
            [how, "\n".join(lines(rows)), *made_by(options.command, ("torch",))],
        )


if __name__ == "__main__":
    main()
