"""Margins hold as often as they say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, kstest

from ebm.planning import conformal_margin


@given(st.integers(1, 200), st.floats(0.01, 0.99), st.integers(0, 2**31))
def test_the_margin_is_the_smallest_error_of_rank_n_plus_1_times_the_level(n: int, level: float, seed: int) -> None:
    errors = torch.randn(n, generator=torch.Generator().manual_seed(seed))
    rank = next(k for k in range(1, n + 2) if k >= (n + 1) * level - 1e-9)
    if rank > n:
        with pytest.raises(ValueError, match="too few"):
            conformal_margin(errors, level)
    else:
        assert conformal_margin(errors, level) == sorted(errors.tolist())[rank - 1]


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("law", ["uniform", "heavy tails", "ties"])
def test_a_new_error_is_within_the_margin_at_least_as_often_as_the_level_says(law: str, level: float) -> None:
    draws, n = 4000, 39
    uniform = torch.rand(draws, n + 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    errors = {"uniform": uniform, "heavy tails": torch.tan(3.1 * (uniform - 0.5)), "ties": (4 * uniform).floor()}[law]
    held = sum(float(row[-1]) <= conformal_margin(row[:-1], level) for row in errors) / draws
    four_deviations = 4 * math.sqrt(level * (1 - level) / draws)  # of a share of so many draws
    assert held >= level - four_deviations
    if law != "ties":
        assert held <= level + 1 / (n + 1) + four_deviations


def test_given_the_errors_the_probability_to_be_within_is_beta_distributed() -> None:
    n, level, draws = 99, 0.9, 1500
    uniform = torch.rand(draws, n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    within = [conformal_margin(row, level) for row in uniform]  # of uniform errors a margin is its own probability
    assert kstest(within, beta(90, 10).cdf).pvalue > 1e-3  # false once in a thousand seeds; this one is fixed


def test_a_round_level_takes_no_rank_more_than_it_must() -> None:
    assert conformal_margin(torch.arange(9.0), 0.9) == 8.0
    assert conformal_margin(torch.arange(99.0), 0.99) == 98.0
    assert conformal_margin(torch.arange(99.0), 0.9) == 89.0


@pytest.mark.parametrize(
    ("errors", "level", "said"),
    [
        (torch.arange(8.0), 0.9, "it takes 9"),
        (torch.zeros(0), 0.5, "it takes 1"),
        (torch.arange(50.0), 0.99, "it takes 99"),
        (torch.arange(9.0), 1.0, "between 0 and 1"),
        (torch.arange(9.0), math.nan, "between 0 and 1"),
        (torch.zeros(9, 2), 0.9, "one for each trajectory"),
        (torch.tensor([0.0, math.nan] * 9), 0.9, "9 are NaN"),
    ],
)
def test_what_cannot_be_answered_is_said(errors: torch.Tensor, level: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        conformal_margin(errors, level)
