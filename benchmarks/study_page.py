"""The command line of a page that is made of the runs of a study."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ebm.study.runner import run_study
from ebm.study.sweep import Study, load_study

HERE = Path(__file__).parent
STUDIES = HERE / "studies"

Write = Callable[[Study, Path, Path | None, str], str]  # study, where its runs are, where the page goes, the command


def options_of_runs(doc: str | None) -> argparse.ArgumentParser:
    """Where runs are, where the page goes, and how much is to be run."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results"), help="where runs are kept (%(default)s)")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="where the page goes (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="runs side by side (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="one seed and little work, to see that it runs")
    parser.add_argument("--as-it-stands", action="store_true", help="run nothing: write of what is finished")
    return parser


def page(
    doc: str | None,
    name: str,
    write: Write,
    quick: Sequence[str],
    every: slice,
    arguments: Sequence[str] | None = None,
    study: str | None = None,
) -> None:
    """Run what is missing of a study, and `write` its page; print the tables that `write` returns.

    `--quick` runs seed 0 with the options `quick` of those runs that `every` picks, and writes nothing. The study is
    `studies/NAME.yaml` unless it is named otherwise.
    """
    parser = options_of_runs(doc)
    file = STUDIES / f"{study or name}.yaml"
    parser.add_argument("--study", type=Path, default=file, help="the study file (%(default)s)")
    options = parser.parse_args(arguments)
    command = shlex.join(["python", f"benchmarks/{name}.py", *(sys.argv[1:] if arguments is None else arguments)])
    if not options.quick:
        asked = load_study(options.study)
        if not options.as_it_stands:
            run_study(asked, options.results, options.workers, Console())
        print(write(asked, options.results, options.out, command))
        return
    with tempfile.TemporaryDirectory() as folder:
        asked = load_study(options.study, quick, [0])
        asked = replace(asked, runs=asked.runs[every])
        run_study(asked, Path(folder), options.workers, Console())
        print(write(asked, Path(folder), None, command))
