import pytest
import torch
from conftest import normal
from scipy.stats import binomtest, kstest, pearsonr
from scipy.stats import permutation_test as scipy_test

from ebm.meters import permutation_test
from ebm.meters.permutation import against_null, orders


def covariance(x, y):
    return float((x * y).mean() - x.mean() * y.mean())


def total_covariance(x):
    return float(torch.cov(x.T).fill_diagonal_(0).square().sum())


@pytest.mark.parametrize("blocks", [1, 2])
def test_under_independence_p_is_uniform(blocks):
    draws = [normal(20, 3, seed=seed) for seed in range(300)]
    if blocks == 2:
        ps = [permutation_test(covariance, x[:, :1], x[:, 1:2], 99, seed).p for seed, x in enumerate(draws)]
    else:
        ps = [permutation_test(total_covariance, x, permutations=99, seed=seed).p for seed, x in enumerate(draws)]
    # Half a step of the grid of p-values is what the continuous distribution differs by.
    assert kstest([p - 0.005 for p in ps], "uniform").pvalue > 0.01
    rejected = sum(p <= 0.05 for p in ps)
    assert binomtest(rejected, len(ps), 0.05).pvalue > 0.01


def test_p_is_that_of_scipy_up_to_the_draw_of_permutations():
    x = normal(30, 1)
    y = 0.3 * x + normal(30, 1, seed=1)
    found = permutation_test(covariance, x, y, permutations=1999)
    expected = scipy_test(
        (x[:, 0].numpy(),),
        lambda a: pearsonr(a, y[:, 0].numpy()).statistic,
        permutation_type="pairings",
        alternative="greater",
        n_resamples=1999,
        rng=0,
    )
    # Two draws of 1,999 with p around .05 differ by .007 (one standard deviation of the difference).
    assert found.p == pytest.approx(expected.pvalue, abs=0.03)
    assert found.value == covariance(x, y)


def test_p_counts_the_value_itself_and_what_is_as_large():
    null = torch.tensor([3.0, 1.0, 4.0, 3.0, 2.0], dtype=torch.float64)
    assert against_null(null) == (3.0, (1 + 2) / 5)
    assert against_null(torch.tensor([9.0, 1.0, 2.0])).p == 1 / 3
    assert against_null(torch.zeros(5)).p == 1


def test_what_differs_by_rounding_is_a_tie():
    assert against_null(torch.tensor([0.3, 0.1 + 0.2 - 1e-16, 0.3 - 1e-15], dtype=torch.float64)).p == 1


def test_of_two_values_each_the_ties_are_those_of_fishers_table():
    x = torch.tensor([0.0, 0.0, 1.0, 1.0])[:, None]
    found = permutation_test(covariance, x, x, permutations=4000)
    # Two of six orders of (0, 0, 1, 1), by chance within 4 standard deviations of .0059; only one has a larger value.
    assert found.p == pytest.approx(1 / 6, abs=0.024)


def test_the_same_seed_gives_the_same_p_and_leaves_the_global_generator_alone():
    x, y = normal(20, 1), normal(20, 1, seed=1)
    before = torch.get_rng_state()
    first = permutation_test(covariance, x, y)
    assert permutation_test(covariance, x, y) == first
    assert permutation_test(total_covariance, x.expand(-1, 2)) == permutation_test(total_covariance, x.expand(-1, 2))
    assert torch.get_rng_state().equal(before)
    assert permutation_test(covariance, x, y, seed=1).p != first.p


def test_orders_are_permutations_and_all_places_as_likely():
    drawn = orders(torch.empty(5, 1), 2000, seed=0)
    assert drawn.sort(1).values.equal(torch.arange(5).expand(2000, -1))
    counts = torch.stack([(drawn == place).sum(0) for place in range(5)])
    # 400 of each, with a standard deviation of 18.
    assert (counts - 400).abs().max() < 80


def test_columns_are_permuted_each_by_itself_and_keep_their_values():
    seen = []

    def statistic(x):
        seen.append(x)
        return float(len(seen) == 1)

    x = normal(30, 3)
    assert permutation_test(statistic, x, permutations=3).p == 1 / 4
    assert seen[0] is x
    for columns in seen[1:]:
        assert columns.sort(0).values.equal(x.sort(0).values)
        places = [(columns[:, [d]] == x[:, d]).double().argmax(1) for d in range(3)]
        assert not places[0].equal(places[1])
        assert not places[1].equal(places[2])


def test_no_permutations_are_refused():
    with pytest.raises(ValueError, match="at least 1 permutation, got 0"):
        permutation_test(covariance, normal(5, 1), normal(5, 1), permutations=0)
    with pytest.raises(ValueError, match="at least 1 permutation, got 0"):
        permutation_test(total_covariance, normal(5, 2), permutations=0)


def test_a_statistic_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="got NaN for 3 orders"):
        permutation_test(lambda x, y: float("nan"), normal(5, 1), normal(5, 1), permutations=2)
