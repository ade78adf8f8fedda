import math

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from ebm.meters import (
    chance,
    chatterjee,
    dependence,
    distance_correlation,
    distance_correlation_test,
    distance_correlations,
    hsic,
    hsic_test,
    pair_sums,
    pairwise,
    permutation_test,
)

BOTH = pytest.mark.parametrize("statistic", [hsic, distance_correlation])


def close(found, expected):
    """Two ways to the same float64 numbers, over sums of up to N^2 terms."""
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def distances(x):
    return np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))


def median_kernel(x, widths=(1.0,)):
    d = distances(x)
    apart = np.sort(d[np.triu_indices(len(x), 1)])
    apart = apart[apart > 0]
    median = apart[(len(apart) - 1) // 2]
    return np.mean([np.exp(-(d**2) / (2 * (w * median) ** 2)) for w in widths], axis=0)


def u_centred(a):
    """Szekely and Rizzo 2014, eq. 2.1."""
    n = len(a)
    rows, columns = a.sum(1, keepdims=True) / (n - 2), a.sum(0, keepdims=True) / (n - 2)
    centred = a - rows - columns + a.sum() / ((n - 1) * (n - 2))
    return centred * (1 - np.eye(n))


def distance_correlation_by_definition(x, y):
    a, b = u_centred(distances(x)), u_centred(distances(y))
    return (a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())


def hsic_by_definition(x, y, widths=(1.0,)):
    """Song et al. 2012, eq. 5."""
    n, one = len(x), np.ones(len(x))
    k, m = (median_kernel(z, widths) * (1 - np.eye(n)) for z in (x, y))
    margins = (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ m @ one)
    return (np.trace(k @ m) + margins) / (n * (n - 3))


def related(n, features, seed=0):
    x = normal(n, features, seed=seed)
    return x, x.square() + normal(n, features, seed=seed + 1)


@given(n=st.integers(4, 60), features=st.sampled_from([1, 1, 2, 20]), seed=st.integers(0, 2**16))
def test_distance_correlation_is_that_of_the_definition(n, features, seed):
    x, y = related(n, features, seed)
    close(distance_correlation(x, y), distance_correlation_by_definition(x.numpy(), y.numpy()))


@given(n=st.integers(4, 60), features=st.sampled_from([1, 1, 2, 20]), seed=st.integers(0, 2**16))
def test_hsic_is_that_of_the_definition(n, features, seed):
    x, y = related(n, features, seed)
    close(hsic(x, y, (0.25, 1.0)), hsic_by_definition(x.numpy(), y.numpy(), (0.25, 1.0)))


@pytest.mark.parametrize("n", [64, 65, 100, 257, 700])
def test_with_ties_and_at_every_number_of_levels_the_sum_on_a_line_is_that_over_all_pairs(n):
    x, y = (z.T for z in related(n, 3))
    x = x.round()
    for a, b in ((x, y), (y, x), (x, x.flip(0))):
        products = (a[:, :, None] - a[:, None]).abs() * (b[:, :, None] - b[:, None]).abs()
        close(pair_sums.cross_on_a_line(a, b), products.sum((1, 2)))


def test_dcor_agrees():
    dcor = pytest.importorskip("dcor")
    for features in (1, 3):
        x, y = related(300, features)
        close(distance_correlation(x, y), float(dcor.u_distance_correlation_sqr(x.numpy(), y.numpy())))


@BOTH
def test_in_blocks_it_is_what_it_is_at_once(statistic, monkeypatch):
    (x, y), (numbers, others) = related(50, 2), related(200, 1)
    at_once = statistic(x, y), statistic(numbers, others)
    monkeypatch.setattr(pair_sums, "BLOCK", 333)
    close((statistic(x, y), statistic(numbers, others)), at_once)


def test_the_kernel_of_numbers_from_its_factor_is_that_over_all_pairs():
    x, y = related(300, 1)
    by_pairs = hsic(torch.cat([x, 0 * x], 1), torch.cat([y, 0 * y], 1), (0.25, 0.5, 1))
    close(hsic(x, y, (0.25, 0.5, 1)), by_pairs)


@BOTH
@pytest.mark.parametrize("features", [1, 3])
def test_it_does_not_change_with_the_scale_or_place_of_either_nor_with_which_is_which(statistic, features):
    x, y = related(100, features)
    value = statistic(x, y)
    # What is lost of x beside 1,000.
    assert statistic(1e30 * x, 1e-30 * y + 1e-27) == pytest.approx(value, rel=1e-9)
    assert statistic(y, x) == pytest.approx(value, rel=1e-9)


def test_distance_correlation_is_one_for_what_is_moved_turned_and_scaled():
    x = normal(80, 3)
    turn = torch.linalg.qr(normal(3, 3, seed=1)).Q
    assert distance_correlation(x, 5 * x @ turn + 2) == pytest.approx(1, rel=1e-9)
    assert distance_correlation(x[:, :1], 3 - 2 * x[:, :1]) == pytest.approx(1, rel=1e-9)


@BOTH
def test_of_independent_codes_the_mean_is_zero(statistic):
    values = torch.tensor([statistic(normal(40, 1, seed=s), normal(40, 1, seed=1000 + s)) for s in range(200)])
    # Four standard errors; the biased estimates are 10 and more above it.
    assert abs(values.mean()) < 4 * values.std() / 200**0.5


@BOTH
@pytest.mark.parametrize("features", [1, 2])
def test_of_a_constant_code_it_is_zero(statistic, features):
    for constant in (0.0, 0.1, 1e30):
        assert statistic(normal(50, features), torch.full((50, features), constant)) == pytest.approx(0, abs=1e-15)


def test_one_row_apart_from_all_others_leaves_nothing_to_correlate():
    x = torch.zeros(40, 1)
    x[7] = 1
    assert distance_correlation(x, normal(40, 1)) == 0
    assert distance_correlation(x.repeat(1, 2), normal(40, 2)) == 0


@pytest.mark.parametrize("features", [1, 2])
@pytest.mark.parametrize("statistic", [(hsic, hsic_test), (distance_correlation, distance_correlation_test)])
def test_the_fast_test_is_the_permutation_test_of_the_statistic(statistic, features):
    plain, fast = statistic
    x, y = normal(40, features), normal(40, features, seed=3)
    expected, found = permutation_test(plain, x, y, 60, seed=5), fast(x, y, permutations=60, seed=5)
    assert found.p == expected.p
    assert 1 / 61 < found.p < 1
    assert found.value == pytest.approx(expected.value, rel=1e-9)


def spiral(n, seed=0):
    turn = 4 * math.pi * torch.rand(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).sqrt()
    points = torch.cat([turn * turn.cos(), turn * turn.sin()], 1) + 0.1 * normal(n, 2, seed=seed)
    return points[:, :1], points[:, 1:]


def test_what_correlation_does_not_see_both_tests_do():
    x, y = spiral(512)
    assert abs(torch.corrcoef(torch.cat([x, y], 1).T)[0, 1]) < 0.2
    assert hsic_test(x, y).p == 1 / 200
    assert distance_correlation_test(x, y).p == 1 / 200
    assert chance(distance_correlation(x, y), 512) < 0.001


@pytest.mark.parametrize("draw", [lambda x: x, lambda x: (x > 0).double(), lambda x: x.exp()])
def test_chance_is_close_to_the_truth_where_there_is_no_dependence(draw):
    codes = draw(normal(200, 1200))
    values = [distance_correlation(codes[:, [i]], codes[:, [i + 600]]) for i in range(600)]
    # Of two values each the limit is one chi-square; of others it is less: no more than 5 % are below .05.
    assert binomtest(sum(chance(value, 200) <= 0.05 for value in values), 600, 0.05, "greater").pvalue > 1e-3
    # Nor is it idle: a tenth of the level would be 3 of 600.
    assert sum(chance(value, 200) <= 0.05 for value in values) > 9


def test_chance_is_a_tail_of_chi_square_with_one_degree_of_freedom():
    assert chance(0.2, 100) == pytest.approx(math.erfc(math.sqrt(21 / 2)), rel=1e-12)
    assert chance(-1.0, 100) == 1


def test_chatterjees_xi_is_one_less_twice_the_roughness_of_ranks_the_better_way_round():
    x = normal(50, 1)
    ranks = x.square()[x[:, 0].argsort(), 0].argsort().argsort()
    xi = 1 - 3 * float(ranks.diff().abs().sum()) / (50**2 - 1)
    assert chatterjee(x, x.square()) == pytest.approx(xi, rel=1e-12)
    assert chatterjee(x.square(), x) == chatterjee(x, x.square())
    assert chatterjee(x, torch.ones(50, 1)) == chatterjee(torch.ones(50, 1), x) == 0


def test_pairs_are_drawn_without_repetition_and_the_same_at_every_call():
    drawn = distance_correlations(normal(10, 30), pairs=200).pairs
    assert len(set(map(tuple, drawn.tolist()))) == 200
    assert (drawn[:, 0] < drawn[:, 1]).all()
    assert drawn.min() == 0
    assert drawn.max() == 29
    assert drawn.equal(distance_correlations(normal(10, 30), pairs=200).pairs)
    assert not drawn.equal(distance_correlations(normal(10, 30), pairs=200, seed=1).pairs)


def test_all_pairs_are_taken_where_they_are_asked_for_or_are_fewer():
    for pairs in (None, 6, 64):
        found = pairwise(normal(10, 4), lambda x, y: 1.0, pairs)
        assert found.pairs.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]
        assert found.values.equal(torch.ones(6, dtype=torch.float64))


def test_a_statistic_is_told_the_two_columns():
    codes = normal(10, 5)
    found = pairwise(codes, lambda x, y: float((x * y).sum()))
    expected = [float((codes[:, i] * codes[:, j]).sum()) for i, j in found.pairs.tolist()]
    assert found.values.tolist() == pytest.approx(expected)
    assert found.mean == pytest.approx(sum(expected) / 10)
    assert found.greatest == pytest.approx(max(expected))
    assert found.share(above=sorted(expected)[6]) == 0.3


def test_many_pairs_at_once_are_what_they_are_one_by_one():
    codes = normal(90, 6) * torch.tensor([1, 1e-30, 1e30, 1, 0, 5])
    close(distance_correlations(codes).values, pairwise(codes, distance_correlation).values)


def test_no_pair_is_no_dependence():
    found = pairwise(normal(10, 1), hsic)
    assert (len(found.values), found.mean, found.greatest, found.share(above=-1)) == (0, 0, 0, 0)


def test_the_meter_finds_the_one_pair_of_dimensions_that_is_a_spiral():
    codes = normal(1024, 10)
    independent = dependence(None, codes, codes)
    assert independent["dependent_pairs"] == 0
    assert independent["distance_correlation_p"] > 0.05
    codes[:, [3]], codes[:, [8]] = spiral(1024)
    found = dependence(None, codes, codes)
    assert found["distance_correlation_p"] < 0.001
    assert found["dependent_pairs"] == pytest.approx(1 / 45)
    assert found["distance_correlation_greatest"] == pytest.approx(distance_correlation(*spiral(1024)))


def test_a_pair_is_dependent_where_its_p_times_the_number_of_pairs_is_below_the_level():
    codes = normal(60, 5)
    codes[:, 1:] += codes[:, :1] * torch.tensor([0.1, 0.5, 1, 2])
    values = distance_correlations(codes).values.tolist()
    share = sum(10 * chance(value, 60) < 0.05 for value in values) / 10
    assert 0 < share < 1
    assert dependence(None, codes, codes)["dependent_pairs"] == share


@pytest.mark.parametrize(("rows", "features"), [(2, 3), (3, 3), (9, 1)])
def test_too_few_codes_or_dimensions_tell_nothing(rows, features):
    codes = normal(rows, features)
    expected = {"distance_correlation": 0, "distance_correlation_greatest": 0, "distance_correlation_p": 1}
    assert dependence(None, codes, codes) == {**expected, "dependent_pairs": 0}


@BOTH
def test_fewer_than_four_rows_are_refused(statistic):
    with pytest.raises(ValueError, match="at least 4 codes, got a batch of 3"):
        statistic(normal(3, 1), normal(3, 1))


def test_what_has_no_meaning_is_refused():
    with pytest.raises(ValueError, match="positive width"):
        hsic(normal(9, 1), normal(9, 1), widths=())
    with pytest.raises(ValueError, match="xi is of two numbers"):
        chatterjee(normal(9, 2), normal(9, 1))
    with pytest.raises(ValueError, match="at least 1 pair"):
        pairwise(normal(9, 5), hsic, pairs=0)
