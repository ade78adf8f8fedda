import math

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.meters import squared_mmd

sizes = st.integers(2, 6)


def by_loops(x, y, bandwidth):
    """Gretton et al. 2012, eq. 3, sample by sample."""

    def k(a, b):
        return math.exp(-sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) / (2 * bandwidth**2))

    x, y = x.tolist(), y.tolist()
    within_x = [k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j]
    within_y = [k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j]
    across = [k(a, b) for a in x for b in y]
    return sum(within_x) / len(within_x) + sum(within_y) / len(within_y) - 2 * sum(across) / len(across)


@given(n=sizes, m=sizes, features=st.integers(1, 3), bandwidth=st.floats(0.1, 3.0), seed=st.integers(0, 2**16))
def test_it_is_the_sum_over_pairs_of_different_draws(n, m, features, bandwidth, seed):
    x, y = normal(n, features, seed=seed), 1 + normal(m, features, seed=seed + 1)
    # Sums of a few dozen numbers up to 1, in two orders.
    assert squared_mmd(x, y, bandwidth) == pytest.approx(by_loops(x, y, bandwidth), abs=1e-13)


def test_many_draws_taken_a_part_at_a_time_are_those_taken_at_once():
    x, y = normal(2100, 2), normal(1500, 2, seed=1)
    expected = [(-torch.cdist(a, b).square() / 0.18).exp() for a, b in ((x, x), (y, y), (x, y))]
    within = [(k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)) for k in expected[:2]]
    # torch.cdist takes |x|^2 + |y|^2 - 2 xy here, whose rounding of 1e-15 a square is 1e-14 of a kernel.
    assert squared_mmd(x, y) == pytest.approx(float(sum(within) - 2 * expected[2].mean()), abs=1e-12)


def test_of_draws_of_one_distribution_it_is_zero_on_average():
    found = torch.tensor([squared_mmd(normal(20, 2, seed=2 * i), normal(20, 2, seed=2 * i + 1)) for i in range(400)])
    error = found.std() / 20
    # Four standard errors of the mean of 400; without leaving out the pairs of a draw with itself it is 0.1 too much.
    assert abs(found.mean()) < 4 * error
    assert 4 * error < 0.05
    assert found.min() < 0


def test_of_two_normal_distributions_it_is_on_average_what_it_is_in_closed_form():
    """Of N(0, 1) and N(shift, 1) the mean of k is that of a normal density of variance 2 + bandwidth^2."""
    shift, variance = 1.5, 2 + 0.3**2
    expected = 2 * 0.3 / variance**0.5 * (1 - math.exp(-(shift**2) / (2 * variance)))
    found = torch.tensor(
        [squared_mmd(normal(100, 1, seed=2 * i), shift + normal(100, 1, seed=2 * i + 1)) for i in range(100)]
    )
    # Four standard errors of the mean of 100.
    assert found.mean() == pytest.approx(expected, abs=4 * float(found.std()) / 10)


def test_near_points_far_from_the_origin_are_told_apart_in_single_precision_too():
    x = torch.tensor([[1000.0], [1000.5]])
    assert squared_mmd(x, x + 0.25) == pytest.approx(by_loops(x, x + 0.25, 0.3), abs=1e-13)


@pytest.mark.parametrize(("n", "m"), [(1, 5), (5, 1), (0, 2)])
def test_a_single_draw_is_refused(n, m):
    with pytest.raises(ValueError, match=f"two draws of each distribution at least, got {n} and {m}"):
        squared_mmd(normal(n, 2), normal(m, 2))
