"""The command `ebm`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import ebm

EPILOG = """examples:
  ebm fit --config benchmarks/studies/digits.yaml --config benchmarks/studies/arms/vicreg.yaml --seed 3
  ebm study run benchmarks/studies/collapse.yaml
  ebm study run benchmarks/studies/collapse.yaml --seeds 0 -- --trainer.max_epochs=5
  ebm study status benchmarks/studies/collapse.yaml
  ebm study report benchmarks/studies/collapse.yaml

A run that is finished is not run again; one that was interrupted, or killed, goes on from its last checkpoint.
Runs are logged to W&B where wandb is installed: offline, unless WANDB_MODE=online is set."""


COMMANDS = {
    "run": "Train all runs of a study that are not finished.",
    "status": "Say which runs of a study are finished, running, stopped, failed or waiting.",
    "report": "Write the report of a study, one HTML file, and say where it is.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status: 0 done, 1 some runs failed, 2 not as configured, 130 interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    cut = given.index("--") if "--" in given else len(given)
    fit = given[:1] == ["fit"]
    options = None if fit else _parser().parse_args(given[:cut])
    from ebm.study import commands  # after --help, which should not wait for Lightning

    try:
        return commands.fit(given[1:]) if options is None else commands.study(options, given[cut + 1 :])
    except (ValueError, ArithmeticError, OSError) as error:
        print(f"ebm: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("ebm", description=ebm.__doc__, epilog=EPILOG, formatter_class=form)
    parser.add_argument("--version", action="version", version=f"ebm-lab {ebm.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("fit", help="train one run (options: ebm fit --help)")
    studies = commands.add_parser("study", help="run, watch and report a study")
    study = studies.add_subparsers(required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        description = f"{purpose} Options of `ebm fit` for every run may follow after --."
        command = study.add_parser(name, help=purpose, description=description, epilog=EPILOG, formatter_class=form)
        command.set_defaults(command=name)
        command.add_argument("study", type=Path, help="the study file, a W&B sweep")
        command.add_argument("--results", type=Path, default=Path("results"), help="where runs are kept (%(default)s)")
        command.add_argument("--seeds", type=int, nargs="+", help="instead of those of the study file")
        if name == "run":
            command.add_argument("--workers", type=_positive, default=_cores(), help="runs side by side (%(default)s)")
        if name == "report":
            command.add_argument("--out", type=Path, help="the HTML file (RESULTS/STUDY.html)")
    return parser


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"at least 1 run at a time, got {text}")
    return int(text)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
