"""Intervals over seeds and paired tests between arms, by scipy and statsmodels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import DescrStatsW

Array = np.ndarray[Any, Any]

# Metrics are logged in float32: differences that vary by less than a few of its roundings do not vary.
ROUNDING = 8 * float(np.finfo(np.float32).eps)


class Interval(NamedTuple):
    """A mean over `n` seeds and its confidence interval; the bounds are nan where one seed is all there is."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def half(self) -> float:
        """Half the width of the interval."""
        return (self.high - self.low) / 2


def interval(values: Sequence[float] | Array | pd.Series[float], confidence: float = 0.95) -> Interval:
    """`mean +- t_(n-1) s / sqrt(n)`, Student's interval; of the finite values alone, which `n` counts."""
    array = np.asarray(values, dtype=float)
    array = array[np.isfinite(array)]
    if len(array) < 2:
        return Interval(float(array[0]) if len(array) else np.nan, np.nan, np.nan, len(array))
    low, high = DescrStatsW(array).tconfint_mean(1 - confidence)
    return Interval(float(array.mean()), float(low), float(high), len(array))


def paired_tests(table: pd.DataFrame, metric: str, control: str | None = None) -> pd.DataFrame:
    """Paired t-tests over the seeds that two arms share: `mean(arm - reference)`, its 95 % interval, t and p.

    `holm` is p adjusted by Holm's method over all tests in the table that could be made: of every pair of arms or,
    given a `control`, of every other arm against it. `note` says why a pair could not be tested; its t and p are nan.
    """
    arms = list(dict.fromkeys(table["arm"]))
    values = table.pivot(index="seed", columns="arm", values=metric)
    pairs = [(arm, reference) for reference, arm in itertools.combinations(arms, 2)]
    if control is not None:
        pairs = [(arm, control) for arm in arms if arm != control]
    if control is not None and control not in arms:
        raise ValueError(f"the control {control!r} has no finished run to test against; there are {', '.join(arms)}")
    columns = ["arm", "reference", "n", "difference", "low", "high", "t", "p", "note"]
    tests = pd.DataFrame([_test(values, arm, reference) for arm, reference in pairs], columns=columns)
    return tests.assign(holm=_holm(tests["p"].to_numpy(dtype=float)))


def _test(values: pd.DataFrame, arm: str, reference: str) -> dict[str, Any]:
    pair = values[[arm, reference]].replace([np.inf, -np.inf], np.nan).dropna().to_numpy(dtype=float)
    differences = pair[:, 0] - pair[:, 1]
    mean, low, high, n = interval(differences)
    found = {"arm": arm, "reference": reference, "n": n, "difference": mean, "low": low, "high": high}
    if n < 2:
        return found | {"t": np.nan, "p": np.nan, "note": f"not testable: {n} seed{'s' * (n != 1)} in common"}
    if np.ptp(differences) <= ROUNDING * np.abs(pair).max():
        return found | {
            "low": np.nan,
            "high": np.nan,
            "t": np.nan,
            "p": np.nan,
            "note": "not testable: every seed differs equally",
        }
    test = ttest_rel(pair[:, 0], pair[:, 1])
    return found | {"t": float(test.statistic), "p": float(test.pvalue), "note": ""}


def _holm(p: Array) -> Array:
    """Adjusted p-values; nan stays nan, and does not count as a test."""
    adjusted = np.full(len(p), np.nan)
    made = np.isfinite(p)
    if made.any():
        adjusted[made] = multipletests(p[made], method="holm")[1]
    return adjusted
