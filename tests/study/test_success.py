"""Shares of episodes, pooled over runs."""

import sys

import pandas as pd
import pytest
from runs import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import success


def test_runs_are_pooled_by_their_episodes():
    share, low, high = success.wilson(pd.Series([1.0, 0.5]), pd.Series([10.0, 30.0]))
    assert share == pytest.approx(25 / 40)
    # Wilson 1927 by hand: (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4 n^2)) / (1 + z^2 / n), z = 1.959964.
    assert (low, high) == pytest.approx((0.470324, 0.757770), abs=1e-5)


def test_runs_without_a_number_do_not_count():
    assert success.percent(pd.Series([1.0, float("nan")]), pd.Series([4.0, 400.0])).startswith("100 %")
    assert success.percent(pd.Series([float("nan")]), pd.Series([4.0])) == ""
