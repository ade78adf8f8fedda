import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_regression

from ebm.data.dependence import Circle, IndependentUniform, MirroredCheckerboard, Parity, SignFlip, Spiral
from ebm.meters import gaussian_total_correlation, information, mutual_information, redundancy, total_correlation


def drawn(source, rows, seed=0):
    return torch.from_numpy(source.draw(rows, np.random.default_rng(seed))[0])


def by_loops(parts, neighbors):
    """Algorithm 1 of Kraskov et al. 2004 for m variables, sample by sample, each dimension over its deviation."""
    tables = [((part - part.mean(0)) / part.std(0, correction=0)).tolist() for part in parts]
    count, total = len(tables[0]), 0.0
    for i in range(count):
        apart = [[max(abs(a - b) for a, b in zip(t[i], t[j], strict=True)) for j in range(count)] for t in tables]
        radius = sorted(max(d[j] for d in apart) for j in range(count) if j != i)[neighbors - 1]
        total += sum(digamma(1 + sum(d[j] < radius for j in range(count) if j != i)) for d in apart)
    return digamma(neighbors) + (len(parts) - 1) * digamma(count) - total / count


def correlated(rows, coefficient, features=1, seed=0):
    """Two codes of which each pair of dimensions has that correlation."""
    x, noise = normal(rows, features, seed=seed), normal(rows, features, seed=seed + 1)
    return x, coefficient * x + (1 - coefficient**2) ** 0.5 * noise


sizes = st.integers(1, 3)


@given(rows=st.integers(8, 30), dx=sizes, dy=sizes, neighbors=st.integers(1, 5), seed=st.integers(0, 999))
def test_mutual_information_is_the_published_algorithm_row_by_row(rows, dx, dy, neighbors, seed):
    x, y = normal(rows, dx, seed=seed), normal(rows, dy, seed=seed + 1)
    # Noise of 1e-10 against ties changes no count of codes without.
    assert mutual_information(x, y, neighbors) == pytest.approx(by_loops([x, y], neighbors), abs=1e-12)


@given(rows=st.integers(8, 30), features=st.integers(2, 5), neighbors=st.integers(1, 5), seed=st.integers(0, 999))
def test_total_correlation_is_the_same_of_single_dimensions(rows, features, neighbors, seed):
    codes = normal(rows, features, seed=seed)
    assert total_correlation(codes, neighbors) == pytest.approx(by_loops(codes.split(1, 1), neighbors), abs=1e-12)


@pytest.mark.parametrize("neighbors", [1, 3, 8])
def test_it_is_what_scikit_learn_finds_between_two_numbers(neighbors):
    x, y = correlated(1000, 0.7)
    expected = mutual_info_regression(x.numpy(), y[:, 0].numpy(), n_neighbors=neighbors, random_state=0).item()
    assert mutual_information(x, y, neighbors) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("source", [Spiral(), Circle(), MirroredCheckerboard(), SignFlip(), IndependentUniform()])
def test_of_4096_points_it_is_the_truth_of_distributions_that_a_covariance_does_not_see(source):
    codes = drawn(source, 4096)
    # Three standard deviations over samples, .015, and a bias of up to .03 where a density has edges or is thin.
    assert mutual_information(codes[:, :1], codes[:, 1:]) == pytest.approx(source.information, abs=0.075)
    assert gaussian_total_correlation(codes) < 0.002


@pytest.mark.parametrize(("coefficient", "features"), [(0.2, 1), (0.5, 1), (0.9, 1), (0.6, 2), (0.6, 3)])
def test_of_normal_codes_it_is_the_closed_form(coefficient, features):
    x, y = correlated(3000, coefficient, features)
    truth = -features / 2 * math.log(1 - coefficient**2)
    # Three standard deviations over samples, .02 for each dimension.
    assert mutual_information(x, y) == pytest.approx(truth, abs=0.06 * features)


def test_in_ten_dimensions_it_is_too_low_by_what_is_documented():
    coefficient = math.sqrt(1 - math.exp(-2 * 6 / 10))
    x, y = correlated(4096, coefficient, features=10)
    # The truth is 6.0; two standard deviations over samples.
    assert mutual_information(x, y) == pytest.approx(2.7, abs=0.1)


def test_total_correlation_sees_what_only_three_dimensions_have_in_common():
    codes = drawn(Parity(), 4096)
    assert Parity().information == pytest.approx(math.log(2))
    # Too low by a tenth of a nat, where the density jumps at eight corners.
    assert total_correlation(codes) == pytest.approx(0.59, abs=0.05)
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        # Three standard deviations.
        assert mutual_information(codes[:, [i]], codes[:, [j]]) == pytest.approx(0, abs=0.05)


@given(exponent=st.integers(-90, 90), shift=st.floats(-10, 10), seed=st.integers(0, 999))
def test_they_are_free_of_scale_of_place_and_of_which_is_which(exponent, shift, seed):
    x, y = correlated(60, 0.8, seed=seed)
    moved = (x + shift) * 2.0**exponent
    # Counts are the same, hence all.
    assert mutual_information(moved, y) == pytest.approx(mutual_information(x, y), abs=1e-12)
    assert mutual_information(y, x) == pytest.approx(mutual_information(x, y), abs=1e-12)
    assert total_correlation(torch.cat([moved, y], 1)) == pytest.approx(mutual_information(x, y), abs=1e-12)


def test_ties_are_broken_so_that_codes_of_a_few_values_have_the_information_of_these():
    x = torch.randint(4, (2000, 1), generator=torch.Generator().manual_seed(0)).double()
    other = torch.randint(4, (2000, 1), generator=torch.Generator().manual_seed(1)).double()
    # Three standard deviations of 2,000 codes.
    assert mutual_information(x, 3 - x) == pytest.approx(math.log(4), abs=0.08)
    assert mutual_information(x, other) == pytest.approx(0, abs=0.08)
    assert mutual_information(x, other) == mutual_information(x, other)


def test_what_does_not_vary_tells_nothing():
    x = normal(50, 2)
    assert mutual_information(x, torch.full((50, 3), 0.1)) == 0
    assert mutual_information(torch.zeros(50, 1), x) == 0
    assert total_correlation(torch.cat([x[:, :1], torch.ones(50, 3)], 1)) == 0
    assert total_correlation(torch.cat([x, torch.ones(50, 3)], 1)) == pytest.approx(total_correlation(x), abs=1e-12)


def test_that_each_tells_the_other_is_about_the_logarithm_of_the_number_of_codes():
    x = normal(1000, 1)
    # psi(k) + psi(N) - psi(k) - psi(k + 1): what breaks ties puts the k-th neighbour nearer in one of the two.
    assert mutual_information(x, 2 * x + 1) == pytest.approx(digamma(1000) - digamma(3 + 1), abs=1e-9)


def test_of_a_sample_of_rows_it_is_that_of_all_within_its_error(monkeypatch):
    x, y = correlated(3000, 0.9, features=2)
    whole = mutual_information(x, y)
    assert mutual_information(x, y, samples=3000) == whole
    sampled = mutual_information(x, y, samples=1000)
    assert sampled != whole
    # Three times the deviation of the terms, about 1, over the root of 1,000.
    assert sampled == pytest.approx(whole, abs=0.1)
    monkeypatch.setattr(information, "WORK", 1000 * 3000 * 4)
    assert mutual_information(x, y) == sampled


@given(rows=st.integers(12, 40), features=st.integers(1, 6), seed=st.integers(0, 999))
def test_the_gaussian_total_correlation_is_half_of_minus_the_log_determinant_of_the_correlations(rows, features, seed):
    codes = normal(rows, features, seed=seed) @ normal(features, features, seed=seed + 1)
    correlations = np.corrcoef(codes.numpy().T).reshape(features, features)
    # A condition number of 1e6 costs as many of 16 digits.
    assert gaussian_total_correlation(codes) == pytest.approx(-np.linalg.slogdet(correlations)[1] / 2, abs=1e-8)


def test_the_gaussian_total_correlation_of_a_singular_code_is_finite_and_grows_with_each_sum_of_others():
    codes = normal(100, 3)
    values = [gaussian_total_correlation(torch.cat([codes, codes @ normal(3, more)], 1)) for more in range(4)]
    gained = [after - before for before, after in pairwise(values)]
    assert all(12 < gain < 17 for gain in gained)
    assert gaussian_total_correlation(torch.cat([codes, torch.ones(100, 2)], 1)) == pytest.approx(values[0], abs=1e-12)


def test_of_fewer_codes_than_dimensions_each_direction_that_is_missing_counts_as_much():
    codes = normal(10, 40)
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(codes.numpy().T))[-9:]
    missing = 31 * math.log(torch.finfo(torch.float64).eps * 40)
    # Nine eigenvalues to 1e-14 each.
    assert gaussian_total_correlation(codes) == pytest.approx(-(np.log(eigenvalues).sum() + missing) / 2, rel=1e-10)


def test_redundancy_is_the_mean_and_the_greatest_over_pairs_of_dimensions():
    hx, hy = normal(200, 2), torch.cat([drawn(Spiral(), 200), normal(200, 2)], 1)
    pairs = [mutual_information(hy[:, [i]], hy[:, [j]]) for i in range(4) for j in range(i + 1, 4)]
    found = redundancy(None, hx, hy)
    assert found == {
        "redundancy": pytest.approx(sum(pairs) / 6, abs=1e-12),
        "redundancy_greatest": pytest.approx(pairs[0], abs=1e-12),
        "redundancy_gaussian": pytest.approx(gaussian_total_correlation(hy) / 4, abs=1e-12),
    }
    assert pairs[0] == max(pairs)


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="`neighbors` of 1 at least, got 0"):
        mutual_information(normal(9, 2), normal(9, 2), neighbors=0)
    with pytest.raises(ValueError, match="got 9 and 8 rows"):
        mutual_information(normal(9, 2), normal(8, 2))
