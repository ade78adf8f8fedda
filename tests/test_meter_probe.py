"""The rank correlations of the study of meters and probes."""

import numpy as np
import pytest
from runs import ROOT
from scipy.stats import spearmanr


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import meter_probe_report

    return meter_probe_report


def drawn(models=40, families=5, seed=0):
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 12, (2, models)).astype(float)  # with ties, as accuracies have
    return x, x + 3 * y, [np.arange(i, models, families) for i in range(families)]


def test_over_one_family_the_correlation_is_spearmans(report):
    x, y, _ = drawn()
    found = report.correlation(x, y, [np.arange(len(x))])
    assert found == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)  # another order of the same sums


def test_what_differs_between_families_alone_counts_for_nothing_within_them(report):
    x, y, groups = drawn()
    shifted = x.copy()
    for i, rows in enumerate(groups):
        shifted[rows] += 100 * i
    assert report.correlation(shifted, y, groups) == report.correlation(x, y, groups)
    assert report.p_values(shifted, y, groups) == report.p_values(x, y, groups)


def test_a_meter_that_does_not_vary_has_no_correlation(report):
    _, y, groups = drawn()
    assert np.isnan(report.correlation(np.ones_like(y), y, groups))


def test_p_is_the_share_of_permutations_within_families_that_correlate_as_much(report):
    x, y, groups = drawn(seed=3)
    x = y + 22 * np.random.default_rng(0).standard_normal(len(y))
    generator = np.random.default_rng(1)
    permuted = np.tile(x, (4000, 1))
    for rows in groups:
        permuted[:, rows] = generator.permuted(permuted[:, rows], axis=1)
    chance = np.abs(report.correlation(permuted, np.tile(y, (4000, 1)), groups))
    expected = (chance >= abs(report.correlation(x, y, groups))).mean()
    assert 0.01 < expected < 0.5
    # Three standard errors of a share of 4,000, and as much for the normal limit at eight models a family.
    assert report.p_values(x, y, groups) == pytest.approx(expected, abs=0.04)


def test_a_meter_is_chosen_without_the_data_set_that_it_is_read_on(report):
    import pandas as pd

    names = ("good", "odd")
    strong = {("a", "good"): 0.5, ("a", "odd"): 0.9, ("b", "good"): 0.6, ("b", "odd"): 0.0, ("c", "good"): 0.5}
    rows = pd.DataFrame(
        [
            {"data": data, "scope": "all", "meter": meter, "rho": strong.get((data, meter), 0.0), "low": 0, "high": 0}
            for data in "abc"
            for meter in names
        ]
    )
    found = report.transfers(rows, "all").set_index("read on")["chosen on the others"]
    assert found.to_dict() == {"a": "good", "b": "good", "c": "good"}
