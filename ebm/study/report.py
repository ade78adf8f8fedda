"""One HTML page that shows what a study found, and that needs nothing but itself to be read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ebm.study import figures
from ebm.study.results import KINDS, Results, collect
from ebm.study.statistics import Interval, interval, paired_tests
from ebm.study.store import write_text
from ebm.study.sweep import Study

# Columns of the main table: a rank always stands beside a spread.
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "Accuracy, held-out images": {"probe/linear": "linear probe, %", "probe/knn": "kNN, %"},
    "Codes": {"code/std": "std", "code/normalized_std": "norm. std", "code/effective_rank": "eff. rank"},
    "Representations": {
        "representation/std": "std",
        "representation/normalized_std": "norm. std",
        "representation/effective_rank": "eff. rank",
    },
    "Energy of pairs": {
        "code/energy_matching": "matching",
        "code/energy_mismatched": "mis-matched",
        "code/auroc": "AUROC",
    },
    "Training": {"seconds": "seconds"},
}
CURVES = ("probe/linear", "probe/knn", "code/std", "code/normalized_std", "code/effective_rank", "code/auroc")
LAST_CURVES = ("loss/total", "train/gradient_norm", "train/std")
# Below these an arm is said to show signs of collapse: codes that hardly differ in direction, or energies that hardly
# tell which pairs match (0.5 is chance).
COLLAPSED = {"code/normalized_std": 0.1, "code/auroc": 0.6}
SIGNIFICANT = 0.05


class Cell(NamedTuple):
    """A number as it is shown, with half its interval, and as it is sorted."""

    mean: str
    half: str
    sort: str


def write_report(study: Study, results: Path, out: Path, command: str) -> Path:
    """Write the report of the runs that are finished. Raises ValueError if there are none."""
    found = collect(study, results)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "probability": probability}
    page = environment.from_string(_asset("report.html")).render(_content(study, found), command=command)
    write_text(out, page)
    return out


def number(value: float, half: float = math.nan) -> str:
    """Three significant digits, or as many as half of an interval's width gives a meaning to."""
    if not math.isfinite(value):
        return "–"
    size = half if math.isfinite(half) and half > 0 else abs(value) / 10
    exponent = math.floor(math.log10(abs(value))) if value else 0
    if exponent < -3 or exponent > 5:
        return f"{value / 10.0**exponent:.1f}\u2009×\u200910{_superscript(exponent)}".replace("-", "−")
    decimals = min(4, max(0, 1 - math.floor(math.log10(size)))) if size else 1
    return f"{value:.{decimals}f}".replace("-", "−")


def probability(p: float) -> str:
    """A p-value with four decimals."""
    if not math.isfinite(p):
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def cell(found: Interval, metric: str) -> Cell:
    """A mean with its interval; accuracies in per cent, to a tenth."""
    mean, half = found.mean * figures.factor(metric), found.half * figures.factor(metric)
    if not math.isfinite(mean):
        return Cell("–", "", "")
    width = 10.0 ** math.floor(math.log10(half)) if half > 0 and math.isfinite(half) else math.nan
    text, spread = number(mean, half), number(half, width)
    if metric in figures.ACCURACIES:
        text, spread = f"{mean:.1f}", f"{half:.1f}"
    return Cell(text, f"± {spread}" if math.isfinite(half) else "", repr(mean))


def answer(study: Study, found: Results, tests: pd.DataFrame) -> str:
    """What the numbers say to the question, and no more than that."""
    sign = -1 if study.goal == "minimize" else 1
    name = figures.name(study.metric)
    means = {arm: interval(rows[study.metric]) for arm, rows in found.table.groupby("arm", sort=False)}
    ranked = sorted((arm for arm in means if means[arm].n), key=lambda arm: -sign * means[arm].mean)
    if not ranked:
        return f"No finished run reports a finite {name}."
    best = ranked[0]
    superlative = "highest" if sign > 0 else "lowest"
    text = f"{best} has the {superlative} mean {name}: {_spoken(means[best], study.metric)}."
    if len(ranked) > 1:
        text += f" {_runner_up(tests, best, ranked[1], study.metric)}"
    return f"{text} {_collapsed(found)}"


def _runner_up(tests: pd.DataFrame, best: str, other: str, metric: str) -> str:
    """Whether the best arm is ahead of the second, and of how many others."""
    mine = tests[(tests["arm"] == best) | (tests["reference"] == best)]
    test = mine[(mine["arm"] == other) | (mine["reference"] == other)].iloc[0]
    gap = f"{number(abs(test.difference) * figures.factor(metric))}{' points' if metric in figures.ACCURACIES else ''}"
    ahead = int((mine["holm"] < SIGNIFICANT).sum())
    if test.note:
        return f"Its difference from the runner-up, {other}, is {gap} and {test.note}."
    word = "significant" if test.holm < SIGNIFICANT else "not significant"
    return (
        f"Its difference from the runner-up, {other}, is {gap}, {word} at the 5 % level (paired t-test over {test.n} seeds,"
        f" p = {probability(test.holm).replace('= <', '<')} after Holm's correction over all pairs); it differs significantly from {ahead} of the"
        f" {len(mine)} other arms."
    )


def _collapsed(found: Results) -> str:
    """Which arms show signs of collapse, by the thresholds above."""
    known = {metric: low for metric, low in COLLAPSED.items() if metric in found.table}
    if not known:
        return "The runs do not report what would show a collapse of the codes."
    means = found.table.groupby("arm", sort=False)[list(known)].mean()
    rule = " or ".join(f"mean {figures.name(metric)} below {low}" for metric, low in known.items())
    arms = [str(arm) for arm in means.index[(means < pd.Series(known)).any(axis=1)]]
    return f"Signs of collapse ({rule}): {', '.join(arms) if arms else 'none of the arms'}."


def _spoken(found: Interval, metric: str) -> str:
    unit = " %" if metric in figures.ACCURACIES else ""
    mean, low, high = (
        number(value * figures.factor(metric), found.half * figures.factor(metric)) for value in found[:3]
    )
    if found.n < 2:
        return f"{mean}{unit}, from a single seed"
    return f"{mean}{unit} (95 % interval {low} to {high}, {found.n} seeds)"


def _content(study: Study, found: Results) -> dict[str, Any]:
    """All that the template shows."""
    styles = figures.styles(study.arms)
    metric = study.metric if study.metric in found.table else found.metrics[0]
    tests = paired_tests(found.table, metric)
    control = study.arms[0]
    against = paired_tests(found.table, metric, control) if control in found.arms else None
    drawn, clouds = _figures(found, styles)
    return {
        "study": study,
        "found": found,
        "styles": {arm: styles[arm] for arm in found.arms},
        "metric": metric,
        "titled": figures.titled,
        "name": figures.name,
        "factor": figures.factor(metric),
        "points": "percentage points" if metric in figures.ACCURACIES else figures.name(metric),
        "answer": answer(study, found, tests),
        "groups": _shown(found, COLUMNS),
        "further": _shown(found, {"Further meters": _further(found)}),
        "cells": _cells(found),
        "control": control,
        "against": against,
        "tests": tests,
        "matrix": _matrix(tests, found.arms),
        "significant": SIGNIFICANT,
        "curves": [name for name in drawn["curves"]],
        "means": [name for name in drawn["means"]],
        "clouds": clouds,
        "kinds": KINDS,
        "labels": sorted({str(label) for codes in found.codes.values() for label in np.unique(codes["label"])}),
        "seeds": sorted(set(found.table["seed"])),
        "steps": sorted(set(found.table["steps"])),
        "configs": {run.arm: run for run in reversed(study.runs) if run.arm in study.arms},
        "file": study.path.read_text() if study.path.is_file() else "",
        "figures": Markup(_json(drawn)),
        "style": Markup(_asset("report.css")),
        "script": Markup(_asset("report.js")),
        "plotly": Markup(get_plotlyjs()),
    }
