"""Write measurements: a row each as CSV, and as tables to read."""

from __future__ import annotations

import csv
import importlib.metadata
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from timing import Measurement

from ebm.study.machine import machine as study_machine

LIBRARIES = ("torch", "numpy", "scipy", "botorch", "pytorch-minimize", "jax", "optimistix")
COLUMNS = (
    *("method", "setting", "batch", "ms", "times ours", "wanted", "met"),
    *("pass", "pass in float64", "max slope", "calls", "rows", "first call s"),
)


@dataclass
class Table:
    """One question and what answers it; the first measurement is ours."""

    name: str
    title: str
    measurements: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def ratio(self, measurement: Measurement) -> float | None:
        """The time of a method per sample, in times of ours; infinite where it leaves samples unsolved."""
        ours = self.measurements[0]
        if not ours.solved:
            return None
        if not measurement.solved:
            return math.inf
        return (measurement.median / measurement.batch) / (ours.median / ours.batch)

    def remarks(self) -> list[str]:
        """What was left out, and what failed."""
        failed = [each for each in self.measurements if each.error]
        return [*self.notes, *(f"{each.case.method.name} raised {each.error}" for each in failed)]

    def verdict(self, measurement: Measurement) -> str:
        """Whether the ratio is what was wanted; nothing where nothing was."""
        wanted, ratio = measurement.case.wanted, self.ratio(measurement)
        if wanted is None:
            return ""
        return "yes" if ratio is not None and ratio >= wanted else "no"

    def record(self, measurement: Measurement) -> dict[str, object]:
        """The figures as they are, under the names of the CSV file's columns."""
        case = measurement.case
        return {
            "table": self.name,
            "problem": case.problem.name,
            "dtype": str(case.problem.start.dtype).removeprefix("torch."),
            "batch": measurement.batch,
            "method": case.method.name,
            "setting": case.method.setting,
            "seconds": measurement.median,
            "seconds_lowest": min(measurement.seconds, default=None),
            "seconds_highest": max(measurement.seconds, default=None),
            "rounds": len(measurement.seconds),
            "times_ours": self.ratio(measurement),
            "wanted": case.wanted,
            "met": self.verdict(measurement),
            "passed": measurement.passed,
            "passed_float64": measurement.passed_float64,
            "max_slope": measurement.steepest,
            "calls": measurement.calls,
            "rows": measurement.rows,
            "first_call_seconds": measurement.first_call,
            "error": measurement.error,
        }

    def cells(self, measurement: Measurement) -> list[str]:
        """The figures as they are read, under `COLUMNS`."""
        case = measurement.case
        named = [case.method.name, case.method.setting, f"{measurement.batch:,}"]
        if measurement.error:
            return [*named, "failed", *[""] * (len(COLUMNS) - 4)]
        return [
            *named,
            f"{measurement.median * 1e3:,.1f}",
            _number(self.ratio(measurement)),
            _number(case.wanted),
            self.verdict(measurement),
            f"{measurement.passed:,} of {measurement.batch:,}",
            f"{measurement.passed_float64:,}",
            f"{measurement.steepest:.1e}",
            "" if measurement.calls is None else f"{measurement.calls:,}",
            "" if measurement.rows is None else f"{measurement.rows:,}",
            "" if measurement.first_call is None else f"{measurement.first_call:.1f}",
        ]


def write_csv(tables: Sequence[Table], path: Path) -> None:
    """All measurements, a line each."""
    records = [table.record(measurement) for table in tables for measurement in table.measurements]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(records[0]) if records else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)


def write_markdown(tables: Sequence[Table], path: Path, command: str, how: str) -> None:
    """A page: how it was measured, on what, and a table for each question."""
    lines = ["# Speed of inference", "", how, "", f"Machine: {machine()}.", "", f"Versions: {versions()}.", ""]
    lines += [f"Made on {datetime.now(UTC):%Y-%m-%d} by `{command}`.", ""]
    for table in tables:
        lines += [f"## {table.title}", ""]
        if table.measurements:
            rows = [list(COLUMNS), ["---"] * len(COLUMNS), *(table.cells(each) for each in table.measurements)]
            lines += ["| " + " | ".join(row) + " |" for row in rows] + [""]
        lines += [f"*{note}*\n" for note in table.remarks()]
    path.write_text("\n".join(lines).rstrip() + "\n")


def machine() -> str:
    """The model of the processor, and how many cores there are."""
    facts = study_machine()
    return f"{facts['processor']}, {facts['cores']} cores"


def versions(libraries: Sequence[str] = LIBRARIES) -> str:
    """Python and the libraries, if they are installed."""
    found = [f"Python {platform.python_version()}"]
    for name in libraries:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {name}")
    return ", ".join(found)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return "infinite" if math.isinf(value) else f"{value:.2f}"
