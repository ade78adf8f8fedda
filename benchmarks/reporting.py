"""What the benchmarks write: tables of means with their intervals, and what they were made with."""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ebm.study.machine import machine
from ebm.study.statistics import interval


def summary(table: pd.DataFrame, by: Sequence[str], formats: dict[str, str]) -> list[str]:
    """The lines of a Markdown table: mean and half the 95 % t-interval over the rows of each group.

    `formats` says how to print each column that is to be seen, by the name of the column.
    """
    lines = [[*by, *(name.replace("_", " ") for name in formats)], ["---"] * (len(by) + len(formats))]
    for keys, group in table.groupby(list(by), sort=False):
        cells = [with_interval(group[name], template) for name, template in formats.items()]
        lines.append([*map(str, keys), *cells])
    return ["| " + " | ".join(line) + " |" for line in lines]


def with_interval(values: pd.Series[float], template: str) -> str:
    """`mean ± half the interval`; nothing where there are no values, no interval where they do not differ."""
    found = interval(values)
    if found.n == 0:
        return ""
    mean = format(found.mean, template)
    return mean if found.n < 2 else f"{mean} ± {format(found.half, template)}"


def made_by(command: str, libraries: Sequence[str]) -> list[str]:
    """The machine, the versions and the command, as lines of a page."""
    facts = machine()
    versions = [
        f"Python {platform.python_version()}",
        *(f"{name} {importlib.metadata.version(name)}" for name in libraries),
    ]
    return [
        f"Machine: {facts['processor']}, {facts['cores']} cores. Versions: {', '.join(versions)}.",
        f"Made on {datetime.now(UTC):%Y-%m-%d} by `{command}`.",
    ]


def write_page(path: Path, title: str, paragraphs: Sequence[str]) -> None:
    """A Markdown page."""
    path.write_text("\n\n".join([f"# {title}", *paragraphs]) + "\n")


def common_options(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, script: str, results: Path, quick: dict[str, Any]
) -> argparse.Namespace:
    """The options with the `command` that gave them; with --quick those of `quick`, else a folder for `results`."""
    parser.add_argument("--results", type=Path, help=f"folder to write to (default {results})")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else list(arguments)
    options.command = shlex.join(["python", script, *given])
    if options.quick:
        vars(options).update(quick)
    elif options.results is None:
        options.results = results
    return options
