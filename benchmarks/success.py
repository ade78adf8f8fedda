"""Shares of episodes with their intervals, pooled over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from statsmodels.stats.proportion import proportion_confint


def wilson(shares: pd.Series[float], episodes: pd.Series[float]) -> tuple[float, float, float]:
    """The share of all episodes that succeeded, and its 95 % interval (Wilson 1927), of shares and counts by run."""
    total = round(float(episodes.sum()))
    count = round(float((shares * episodes).sum()))
    low, high = proportion_confint(count, total, 0.05, "wilson")
    return count / total, round(float(low), 9), round(float(high), 9)  # 0 and 1 exactly, at the ends


def percent(shares: pd.Series[float], episodes: pd.Series[float]) -> str:
    """`97 % (94 to 99)`; nothing where there are no runs."""
    known = shares.notna()
    if not known.any():
        return ""
    share, low, high = (100 * value for value in wilson(shares[known], episodes[known]))
    return f"{share:.0f} % ({low:.0f} to {high:.0f})"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table whose first line is its head."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join("| " + " | ".join(line) + " |" for line in ruled)
