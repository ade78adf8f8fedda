"""What the benchmarks write: tables of means with their intervals, and what they were made with."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

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
