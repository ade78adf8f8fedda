"""Risk measures are what their definitions say of a finite number of equally likely draws."""

from __future__ import annotations

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from ebm.energies import CVaR, Mean


@pytest.mark.parametrize("share", [0.05, 0.2, 0.35, 0.99])
def test_conditional_value_at_risk_is_the_minimum_over_thresholds(share):
    """Rockafellar and Uryasev 2000, theorem 1: `min_t t + mean(max(0, cost - t)) / share`, found by search."""
    costs = normal(13, 4)
    for column in costs.T:
        found = minimize_scalar(
            lambda t, column=column: t + float((column - t).relu().mean()) / share,
            bounds=(-5, 5),
            method="bounded",
            options={"xatol": 1e-9},
        )
        # The search stops within 1e-9 of a corner whose slopes are at most 20.
        assert float(CVaR(share)(column)) == pytest.approx(found.fun, abs=1e-6)


def test_a_share_of_one_is_the_mean_and_a_small_one_the_worst():
    costs = normal(8, 3, 2)
    torch.testing.assert_close(CVaR(1.0)(costs), Mean()(costs))
    torch.testing.assert_close(CVaR(1 / 8)(costs), costs.amax(0))
    torch.testing.assert_close(CVaR(0.01)(costs), costs.amax(0))


@given(st.integers(1, 20), st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_risk_grows_as_the_share_shrinks_and_moves_with_the_costs(draws, one, other):
    costs = normal(draws, 3, seed=draws)
    small, large = sorted([one, other])
    assert (CVaR(small)(costs) >= CVaR(large)(costs) - 1e-9).all()  # rounding in double precision
    torch.testing.assert_close(CVaR(one)(2 * costs + 3), 2 * CVaR(one)(costs) + 3)


def test_a_draw_that_is_not_a_number_makes_the_risk_none():
    costs = normal(5, 2)
    costs[2, 0] = torch.nan
    for risk in (Mean(), CVaR(0.2), CVaR(0.5)):
        assert risk(costs).isnan().tolist() == [True, False]


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(ValueError, match="share"):
        CVaR(share)


@pytest.mark.parametrize("risk", [Mean(), CVaR()])
@pytest.mark.parametrize("costs", [torch.zeros(()), torch.zeros(0, 3)])
def test_costs_without_draws_are_refused(risk, costs):
    with pytest.raises(ValueError, match="draws"):
        risk(costs)
