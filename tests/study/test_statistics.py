"""Intervals and tests are those of scipy and statsmodels, and what cannot be tested is said to be so."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ebm.study.statistics import _holm, interval, paired_tests

# Sums of a few numbers of order one, in another order.
ROUNDING = {"rtol": 1e-9, "atol": 1e-12}


def table(**arms):
    """One row a seed of each arm; None where the run is missing."""
    rows = [(arm, seed, value) for arm, values in arms.items() for seed, value in enumerate(values)]
    return pd.DataFrame([row for row in rows if row[2] is not None], columns=["arm", "seed", "m"])


def noisy(arms=4, seeds=6):
    values = np.random.default_rng(0).normal(size=(arms, seeds)) + 0.8 * np.arange(arms)[:, None]
    return table(**{f"arm {i}": row for i, row in enumerate(values)})


@given(values=arrays(float, st.integers(2, 9), elements=st.floats(-1, 1, width=16), unique=True))
def test_an_interval_is_student_s(values):
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    np.testing.assert_allclose(interval(values), (values.mean(), low, high, len(values)), **ROUNDING)


def test_an_interval_of_two_seeds_has_its_closed_form():
    # With one degree of freedom Student's t is Cauchy's, whose 97.5 % quantile is tan(0.475 pi).
    assert interval([0.0, 2.0]).half == pytest.approx(np.tan(0.475 * np.pi), rel=1e-9)


def test_a_wider_confidence_gives_a_wider_interval():
    assert interval([1.0, 2.0, 4.0], 0.99).half > interval([1.0, 2.0, 4.0], 0.9).half


def test_an_interval_counts_finite_values_alone():
    assert interval([1.0, np.nan, 3.0, np.inf]) == interval([1.0, 3.0])


def test_one_value_has_no_interval_and_none_has_no_mean():
    np.testing.assert_equal(tuple(interval([0.5])), (0.5, np.nan, np.nan, 1))
    np.testing.assert_equal(tuple(interval([])), (np.nan, np.nan, np.nan, 0))


def test_equal_values_have_an_interval_of_no_width():
    assert tuple(interval([0.5, 0.5, 0.5])) == (0.5, 0.5, 0.5, 3)


def test_a_paired_test_is_scipy_s():
    values = noisy()
    for test in paired_tests(values, "m").itertuples():
        arm, reference = (values.loc[values["arm"] == name, "m"].to_numpy() for name in (test.arm, test.reference))
        expected = stats.ttest_rel(arm, reference)
        span = expected.confidence_interval(0.95)
        np.testing.assert_allclose((test.t, test.p), (expected.statistic, expected.pvalue), **ROUNDING)
        np.testing.assert_allclose((test.low, test.high), (span.low, span.high), **ROUNDING)
        assert test.difference == pytest.approx(arm.mean() - reference.mean())
        assert test.n == 6


def test_t_is_the_mean_difference_over_its_standard_error():
    (test,) = paired_tests(table(a=[0.0, 0.0, 0.0], b=[1.0, 2.0, 3.0]), "m").itertuples()
    assert test.difference == 2
    assert test.t == pytest.approx(2 / (1 / 3**0.5))


def test_holm_s_correction_of_a_textbook_s_example():
    # Four tests: 0.005 x 4, 0.01 x 3, 0.03 x 2, and 0.04 x 1, which must not be less than the one before it.
    np.testing.assert_allclose(_holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])


def test_holm_s_correction_counts_only_tests_that_were_made():
    np.testing.assert_allclose(_holm(np.array([0.01, np.nan, 0.02])), [0.02, np.nan, 0.02])
    assert np.isnan(_holm(np.array([np.nan]))).all()
    assert len(_holm(np.array([]))) == 0


def test_all_pairs_are_one_family_and_those_with_the_control_another():
    pairs, control = paired_tests(noisy(), "m"), paired_tests(noisy(), "m", "arm 1")
    assert len(pairs) == 6
    assert list(control["arm"]) == ["arm 0", "arm 2", "arm 3"]
    assert set(control["reference"]) == {"arm 1"}
    for tests in (pairs, control):
        np.testing.assert_allclose(tests["holm"], multipletests(tests["p"], method="holm")[1])


def test_the_order_of_two_arms_changes_no_more_than_signs():
    forth, back = (paired_tests(noisy(2), "m", arm).iloc[0] for arm in ("arm 0", "arm 1"))
    assert (forth["t"], forth["low"], forth["p"]) == pytest.approx((-back["t"], -back["high"], back["p"]))


def test_only_seeds_that_both_arms_have_are_compared():
    (test,) = paired_tests(table(a=[1.0, None, 5.0, 2.0, np.nan], b=[2.0, 9.0, 5.5, 4.0, 1.0]), "m").itertuples()
    expected = stats.ttest_rel([2.0, 5.5, 4.0], [1.0, 5.0, 2.0])
    assert (test.n, test.t, test.p) == (3, pytest.approx(expected.statistic), pytest.approx(expected.pvalue))


@pytest.mark.parametrize(
    ("a", "b", "n", "why"),
    [
        ([1.0], [2.0], 1, "1 seed in common"),
        ([1.0, None], [None, 2.0], 0, "0 seeds in common"),
        ([np.nan, np.inf, 1.0], [1.0, 1.0, 2.0], 1, "1 seed in common"),
        ([1.0, 2.0, 3.0], [2.0, 3.0, 4.0], 3, "every seed differs equally"),
        ([0.5, 0.5], [0.5, 0.5], 2, "every seed differs equally"),
    ],
)
def test_what_cannot_be_tested_is_said_to_be_so(a, b, n, why):
    (test,) = paired_tests(table(a=a, b=b), "m").itertuples()
    assert test.n == n
    assert test.note == f"not testable: {why}"
    assert np.isnan([test.t, test.p, test.holm, test.low, test.high]).all()


def test_differences_that_vary_by_rounding_alone_are_not_tested():
    # Seven of 450 images more, on each seed, in the float32 that metrics are logged in.
    right = np.array([150, 317, 421])
    a, b = ((count / 450).astype(np.float32).astype(float) for count in (right, right + 7))
    assert np.ptp(b - a) > 0
    (test,) = paired_tests(table(a=a, b=b), "m").itertuples()
    assert test.note == "not testable: every seed differs equally"
    assert test.difference == pytest.approx(7 / 450)


def test_one_arm_gives_an_empty_table():
    assert paired_tests(table(a=[1.0, 2.0]), "m").empty


def test_a_control_without_a_finished_run_is_refused():
    with pytest.raises(ValueError, match=r"'c' has no finished run .* a, b"):
        paired_tests(table(a=[1.0], b=[1.0]), "m", "c")
