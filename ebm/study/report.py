"""One HTML page that shows what a study found, and that needs nothing but itself to be read."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
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
from ebm.study.columns import COLLAPSED, COLUMNS, DECIMALS, FIRST_CURVES, FURTHER_CURVES
from ebm.study.results import KINDS, Results, collect, distinct
from ebm.study.statistics import Interval, interval, paired_tests
from ebm.study.store import write_text
from ebm.study.sweep import Study

SIGNIFICANT = 0.05
MINUS, MISSING = "\u2212", "\u2013"


class Cell(NamedTuple):
    """A number as it is shown, half the width of its interval, and what the column is sorted by."""

    mean: str
    half: str
    sort: str


def write_report(study: Study, results: Path, out: Path, command: str) -> Path:
    """Write the report of the runs that are finished, and a table of them beside it, one row a run.

    Raises ValueError if there are none.
    """
    found = collect(study, results)
    if study.metric not in found.table:
        raise ValueError(
            f"the study {study.path} asks for the metric {study.metric!r}, which no finished run reports: name one of"
            f" {', '.join(found.metrics)} under `metric`"
        )
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"number": number, "probability": probability, "titled": figures.titled}
    page = environment.from_string(_asset("report.html"))
    write_text(out.with_suffix(".csv"), found.table.to_csv(index=False))
    write_text(out, page.render(_content(study, found), command=command))
    return out


def number(value: float, decimals: int = 3, beside: float | None = None) -> str:
    """A decimal number; with an exponent where it, or the number `beside` it, is less than the last of 3 decimals."""
    if not math.isfinite(value):
        return MISSING
    small = decimals > 2 and 0 < abs(value if beside is None else beside) < 0.1**decimals
    mantissa, _, exponent = f"{value:.{1 if small else decimals}{'e' if small else 'f'}}".partition("e")
    return (mantissa + (f"e{int(exponent)}" if exponent else "")).replace("-", MINUS)


def probability(p: float) -> str:
    """A p-value to four decimals."""
    if not math.isfinite(p):
        return MISSING
    return f"{p:.4f}" if p >= 1e-4 else "< 0.0001"


def cell(found: Interval, metric: str) -> Cell:
    """A mean and its interval; accuracies in per cent."""
    mean, half = found.mean * figures.factor(metric), found.half * figures.factor(metric)
    decimals = DECIMALS.get(metric, 3)
    spread = f"± {number(half, decimals, mean)}" if math.isfinite(half) else ""
    return Cell(number(mean, decimals), spread, str(mean) if math.isfinite(mean) else "")


def answer(study: Study, found: Results, tests: pd.DataFrame) -> str:
    """What the numbers say to the question, and no more than that."""
    sign, superlative = (-1, "lowest") if study.goal == "minimize" else (1, "highest")
    by_arm = found.table.groupby("arm", sort=False)[study.metric]
    means = {str(arm): interval(values) for arm, values in by_arm}
    ranked = sorted((arm for arm in means if means[arm].n), key=lambda arm: -sign * means[arm].mean)
    if not ranked:
        return f"No finished run reports a finite {figures.name(study.metric)}. {_collapsed(found)}"
    best, *others = ranked
    first = f"{best} has the {superlative} mean {figures.name(study.metric)}, {_spoken(means[best], study.metric)}."
    second = [_ahead(tests, best, others[0], study.metric)] if others else []
    return " ".join([first, *second, _collapsed(found)])


def _spoken(found: Interval, metric: str) -> str:
    factor, unit = figures.factor(metric), " %" if metric in figures.ACCURACIES else ""
    mean, low, high = (number(value * factor, DECIMALS.get(metric, 3)) for value in found[:3])
    if found.n < 2:
        return f"{mean}{unit}, from a single seed"
    return f"{mean}{unit} (95 % interval {low} to {high}, {found.n} seeds)"


def _ahead(tests: pd.DataFrame, best: str, second: str, metric: str) -> str:
    """Whether the best arm differs from the runner-up, and from how many of all others."""
    mine = tests[(tests["arm"] == best) | (tests["reference"] == best)]
    test = mine[(mine["arm"] == second) | (mine["reference"] == second)].to_dict("records")[0]
    unit = " percentage points" if metric in figures.ACCURACIES else ""
    gap = f"{number(abs(test['difference']) * figures.factor(metric), DECIMALS.get(metric, 3))}{unit}"
    count = f"Of the {len(mine)} other arms, it differs significantly from {int((mine['holm'] < SIGNIFICANT).sum())}."
    if test["note"]:
        return f"The runner-up, {second}, is {gap} away: {test['note']}. {count}"
    verdict = "is significant" if test["holm"] < SIGNIFICANT else "is not significant"
    return (
        f"The difference from the runner-up, {second}, {gap}, {verdict} at the 5 % level (paired t-test over"
        f" {test['n']} seeds, p = {test['holm']:.2g} after Holm's correction over all pairs of arms). {count}"
    )


def _collapsed(found: Results) -> str:
    """Which arms show signs of collapse, and by what rule."""
    known = {metric: low for metric, low in COLLAPSED.items() if metric in found.table}
    if not known:
        return "The runs report nothing that would show a collapse of the codes."
    means = found.table.groupby("arm", sort=False)[list(known)].mean()
    rule = " or ".join(f"mean {figures.name(metric)} below {low}" for metric, low in known.items())
    arms = [str(arm) for arm in means.index[(means < pd.Series(known)).any(axis=1)]]
    return f"Signs of collapse ({rule}): {', '.join(arms) or 'none'}."


def _content(study: Study, found: Results) -> dict[str, Any]:
    """All that the template shows."""
    styles = figures.styles(study.arms)
    drawn, clouds = _figures(study, found, styles)
    groups = _groups(found, COLUMNS)
    main = {metric for group in groups.values() for metric in group}
    return {
        "study": study,
        "found": found,
        "styles": styles,
        "groups": groups,
        "further": {"Further meters": {metric: metric for metric in found.metrics if metric not in main}},
        "cells": _cells(found),
        "counts": found.table["arm"].value_counts().to_dict(),
        "variants": {name: list(variants) for name, variants in drawn.items()},
        "clouds": clouds,
        "kinds": KINDS,
        "labels": np.unique([label for codes in found.codes.values() for label in codes["label"]]).tolist(),
        "held_out": max((len(codes["label"]) for codes in found.codes.values()), default=0),
        "figures": Markup(_json(drawn)),
        "style": Markup(_asset("report.css")),
        "script": Markup(_asset("report.js")),
        "plotly": Markup(get_plotlyjs()),
        **_tested(study, found),
        **_provenance(study, found),
    }


def _tested(study: Study, found: Results) -> dict[str, Any]:
    """The answer, and the tests that it rests on."""
    tests = paired_tests(found.table, study.metric)
    control = study.arms[0]
    against = paired_tests(found.table, study.metric, control) if control in found.arms else tests[:0]
    return {
        "answer": answer(study, found, tests),
        "name": figures.name(study.metric),
        "unit": "percentage points" if study.metric in figures.ACCURACIES else "its own units",
        "factor": figures.factor(study.metric),
        "decimals": DECIMALS.get(study.metric, 3),
        "level": SIGNIFICANT,
        "control": control,
        "against": against.to_dict("records"),
        "tests": tests.to_dict("records"),
        "matrix": _matrix(tests, study.metric),
    }


def _provenance(study: Study, found: Results) -> dict[str, Any]:
    """What was run, where and with what, and what is missing."""
    return {
        "seeds": sorted(set(found.table["seed"])),
        "steps": " or ".join(str(steps) for steps in sorted(set(found.table["steps"]))),
        "facts": {"Versions": distinct(found.versions), "Machine": distinct(found.machines)},
        "runs": found.table.to_dict("records"),
        "configs": {arm: next(run.config for run in study.runs if run.arm == arm) for arm in study.arms},
        "file": study.path.read_text() if study.path.is_file() else "",
        "notices": _notices(found),
    }


def _notices(found: Results) -> list[str]:
    """What a reader has to know before the numbers."""
    notices = []
    if found.unfinished:
        states = Counter(run.state for run in found.unfinished)
        how = ", ".join(f"{count} {state}" for state, count in states.items())
        total = len(found.table) + len(found.unfinished)
        notices.append(
            f"Partial: {len(found.table)} of {total} runs are finished ({how}); the others are listed at the end."
        )
    if found.mixed:
        notices.append(f"Not all runs were made with the same {', '.join(found.mixed)}: see the end.")
    if found.table["steps"].nunique() > 1:
        notices.append("Not all runs were trained for the same number of steps.")
    if found.table["seed"].nunique() == 1:
        notices.append("There is one seed alone, so that nothing can be said of chance: no intervals, and no tests.")
    return notices


def _groups(found: Results, groups: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """The columns that some run reports."""
    kept = {title: {m: text for m, text in group.items() if m in found.table} for title, group in groups.items()}
    return {title: group for title, group in kept.items() if group}


def _cells(found: Results) -> dict[str, dict[str, Cell]]:
    """Of each arm, all metrics."""
    metrics = [*found.metrics, "seconds"]
    return {
        str(arm): {metric: cell(interval(runs[metric]), metric) for metric in metrics}
        for arm, runs in found.table.groupby("arm", sort=False)
    }


def _matrix(tests: pd.DataFrame, metric: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Differences of every arm (row) from every other (column); `share` of the largest colours the cell."""
    largest = tests["difference"].abs().max() if len(tests) else math.nan
    cells, decimals = {}, DECIMALS.get(metric, 3)
    for test in tests.to_dict("records"):
        for sign, pair in ((1, ("arm", "reference")), (-1, ("reference", "arm"))):
            difference = sign * test["difference"]
            shown = difference * figures.factor(metric)
            cells[test[pair[0]], test[pair[1]]] = {
                "text": f"{'+' if shown > 0 else ''}{number(shown, decimals)}",
                "share": round(abs(difference) / largest, 3) if largest > 0 and math.isfinite(difference) else 0,
                "side": "more" if difference > 0 else "less",
                "significant": test["holm"] < SIGNIFICANT,
            }
    return cells


def _figures(
    study: Study, found: Results, styles: Mapping[str, figures.Style]
) -> tuple[dict[str, dict[str, go.Figure]], list[dict[str, Any]]]:
    """By name and by what is chosen to be seen; and of each arm's cloud of codes, what to call it."""
    shown = [metric for group in _groups(found, COLUMNS).values() for metric in group]
    drawn = {
        "means": {metric: figures.means(found, styles, metric) for metric in _first(study.metric, shown)},
        "curves": {metric: figures.curves(found, styles, metric) for metric in _curves(study, found)},
        **{f"spectrum-{kind}": {"": figures.spectrum(found, styles, kind)} for kind in KINDS if found.codes},
    }
    points = {kind: {arm: figures.projected(codes[kind]) for arm, codes in found.codes.items()} for kind in KINDS}
    limits = {k: 1.05 * max((float(np.abs(p).max()) for p in points[k].values()), default=0) or 1.0 for k in KINDS}
    clouds = []
    for i, arm in enumerate(arm for arm in found.arms if arm in found.codes):
        codes = found.codes[arm]
        drawn[f"cloud-{i}"] = {k: figures.cloud(points[k][arm], codes["label"], limits[k]) for k in KINDS}
        with np.errstate(invalid="ignore"):  # codes that are not finite have no spread
            std = {k: number(float(codes[k].std(0, dtype=float).mean())) for k in KINDS}
        clouds.append({"arm": arm, "figure": f"cloud-{i}", "std": std, "seed": found.seeds_of(arm)[0]})
    return drawn, clouds


def _curves(study: Study, found: Results) -> list[str]:
    """Metrics that have a history, those that matter most first and the terms of losses last."""
    there = sorted(found.history["metric"].unique(), key=lambda metric: metric.startswith("loss/"))
    return [metric for metric in _first(study.metric, (*FIRST_CURVES, *FURTHER_CURVES, *there)) if metric in there]


def _first(metric: str, others: Iterable[str]) -> list[str]:
    return list(dict.fromkeys([metric, *others]))


def _json(drawn: Mapping[str, Mapping[str, go.Figure]]) -> str:
    """For a script element, which `<` could end."""
    plain = {name: {key: json.loads(figure.to_json()) for key, figure in some.items()} for name, some in drawn.items()}
    return json.dumps(plain, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    return (files("ebm.study") / name).read_text(encoding="utf-8")
