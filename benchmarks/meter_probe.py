"""Does a meter tell how well a probe will read a model? Rank correlations over models of ten methods.

    python benchmarks/meter_probe.py --mnist FOLDER --cifar10 FOLDER    # train what is missing, read it, write the page
    python benchmarks/meter_probe.py --quick                            # to see that it runs; nothing is written

The models are those of `ebm study run benchmarks/studies/meter_probe/METHOD.yaml`, each file the family of one method.
A data set other than the digits, and what reads it, take the place of theirs by the options of `options_of`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from meter_probe_report import write
from rich.console import Console
from rich.progress import track
from study_page import STUDIES, options_of_runs
from torch import Tensor

from ebm.callbacks.metering import Meter
from ebm.free_energy import FreeEnergy
from ebm.meters import (
    condition_number,
    contrast,
    dependence,
    discriminant_rank,
    energy_gap,
    entropy,
    hypersphere,
    intrinsic_dimension,
    learnability,
    rank,
    redundancy,
    spread,
)
from ebm.study.configuration import Run, build
from ebm.study.runner import run_study
from ebm.study.store import write_text
from ebm.study.sweep import Study, load_study

FAMILIES = STUDIES / "meter_probe"
CHANNELS = {"mnist": 1, "cifar10": 3}  # of the data sets that a small convolutional network reads
ROWS = 1024  # held-out images that meters read
OF_CODES: tuple[Meter, ...] = (
    *(spread, rank, hypersphere, discriminant_rank, intrinsic_dimension, learnability, entropy, redundancy, dependence),
    lambda F, hx, hy: {"condition_number": condition_number(hy)},
)
OF_ENERGY: tuple[Meter, ...] = (energy_gap, contrast)


def options_of(data: str, folder: str | None) -> list[str]:
    """What a run on this data set has after the options of its family; the images may lie in a folder."""
    if data == "digits":
        return []
    places = [f"--data.source.init_args.source.init_args.path={folder}"] if folder else []
    return [
        f"--data={FAMILIES / 'data' / data}.yaml",
        *places,
        "--model.energy.encoder=ebm.networks.ConvNet",
        f"--model.energy.encoder.channels=[{CHANNELS[data]}, 8, 16, 64]",
        "--trainer.max_epochs=6",
    ]


def models(data: str, folder: str | None, extra: Sequence[str] = (), files: str = "*") -> Study:
    """All families on one data set, as one study whose arms begin with the name of the family."""
    paths = sorted(FAMILIES.glob(f"{files}.yaml"))
    studies = {path.stem: load_study(path, [*options_of(data, folder), *extra]) for path in paths}
    runs = [replace(run, arm=f"{family}: {run.arm}") for family, study in studies.items() for run in study.runs]
    return replace(next(iter(studies.values())), name=f"meter_probe_{data}", runs=tuple(runs))


def readings(run: Run, results: Path) -> dict[str, float]:
    """What all meters read off a finished run, kept beside it, so that no model is read twice."""
    kept = run.folder(results).path / "meters.json"
    if not kept.exists():
        write_text(kept, json.dumps(dict(read(run, results))))
    return dict(json.loads(kept.read_text()))


@torch.no_grad()
def read(run: Run, results: Path) -> Iterator[tuple[str, float]]:
    """Meters of codes and of representations, of two views of the images held out, and of the energy."""
    F, x, y = restored(run, results)
    hx, hy = F.energy.encode(x, y)
    views = {"code": (F.energy.encode(y, x)[1], hy), "representation": (F.energy.represent(x), F.energy.represent(y))}
    for kind, (first, second) in views.items():
        for meter in OF_CODES:
            for name, value in meter(F, first, second).items():
                yield f"{kind}/{name}", value
    for meter in OF_ENERGY:
        for name, value in meter(F, hx, hy).items():
            if name != "auroc_mismatched":  # the same question as `auroc`, of fewer pairs
                yield f"energy/{name.removeprefix('energy_')}", value


def restored(run: Run, results: Path) -> tuple[FreeEnergy, Tensor, Tensor]:
    """The free energy of a finished run, and two views of held-out images, the same ones for all runs."""
    parts = build(run)
    state = torch.load(run.folder(results).checkpoint, weights_only=True)["state_dict"]
    parts.learner.load_state_dict(state)
    parts.data.setup("fit")
    torch.manual_seed(0)
    x, y = parts.data.pairs(torch.cat([batch[0] for batch in parts.data.labelled("test")])[:ROWS])
    return parts.learner.eval().F.requires_grad_(False), x, y


def table(study: Study, data: str, results: Path) -> pd.DataFrame:
    """One row a finished model: its family, its probes, and what every meter reads."""
    done = [run for run in study.runs if run.folder(results).state() == "finished"]
    rows = []
    for run in track(done, f"meters of {len(done)} models of {data}", console=Console(stderr=True), transient=True):
        family, _, arm = run.arm.partition(": ")
        metrics = run.folder(results).result()["metrics"]
        probes = {name: metrics[name] for name in ("probe/linear", "probe/knn")}
        rows.append({"data": data, "family": family, "model": arm, **probes, **readings(run, results)})
    return pd.DataFrame(rows)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the command that gave them."""
    parser = options_of_runs(__doc__)
    for data in CHANNELS:
        parser.add_argument(f"--{data}", help="a folder of its images, in the schema of the hub (else from the hub)")
    parser.add_argument("--data", nargs="*", choices=["digits", *CHANNELS], default=["digits", *CHANNELS], help="which")
    options = parser.parse_args(arguments)
    given = shlex.join(sys.argv[1:] if arguments is None else arguments)
    for folder in filter(None, (vars(options)[data] for data in CHANNELS)):
        given = given.replace(folder, "FOLDER")  # where they lie is of no interest to others
    options.command = f"python benchmarks/meter_probe.py {given}"
    return options


def quick(options: argparse.Namespace) -> None:
    """Two steps of two families on the digits."""
    with tempfile.TemporaryDirectory() as folder:
        study = models("digits", None, ["--trainer.max_steps=2"], "[cw]*")
        run_study(study, Path(folder), options.workers, Console())
        print(write(table(study, "digits", Path(folder)), len(study.runs), None, options.command))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, read, and write."""
    options = parsed(arguments)
    if options.quick:
        quick(options)
        return
    studies = {data: models(data, vars(options).get(data)) for data in options.data}
    for study in () if options.as_it_stands else studies.values():
        run_study(study, options.results, options.workers, Console())
    found = pd.concat([table(study, data, options.results) for data, study in studies.items()], ignore_index=True)
    print(write(found, sum(len(study.runs) for study in studies.values()), options.out, options.command))


if __name__ == "__main__":
    main()
