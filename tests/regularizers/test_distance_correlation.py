import pytest
import torch
from conftest import normal
from dependence import assert_same
from scipy.spatial.distance import cdist

from ebm.regularizers import DistanceCorrelation


def centred(x):
    """Szekely, Rizzo, Bakirov 2007, definition 4: `A_kl = a_kl - a_k. - a_.l + a_..`."""
    n = len(x)
    a = [[abs(x[k] - x[m]) for m in range(n)] for k in range(n)]
    rows = [sum(row) / n for row in a]
    everything = sum(rows) / n
    return torch.stack([torch.stack([a[k][m] - rows[k] - rows[m] + everything for m in range(n)]) for k in range(n)])


def squared_correlation(a, b, epsilon=1e-8):
    covariance, first, second = (a * b).mean(), (a * a).mean(), (b * b).mean()
    return covariance / ((first + epsilon) * (second + epsilon)).sqrt()


def written_out(codes):
    matrices = [centred(x) for x in codes.T]
    return sum(squared_correlation(a, b) for i, a in enumerate(matrices) for b in matrices[:i])


@pytest.mark.parametrize("shape", [(3, 3), (12, 4), (9, 20)], ids=str)
def test_it_is_the_formula(shape):
    assert_same(DistanceCorrelation(), written_out, normal(*shape) + 0.5)


def test_it_is_the_formula_by_distances_of_scipy_and_numpy():
    codes = normal(40, 2)
    n, (x, y) = 40, codes.T.numpy()
    a, b = cdist(x[:, None], x[:, None]), cdist(y[:, None], y[:, None])
    # The other form of the paper, remark 1: V^2 = S1 + S2 - 2 S3.
    first, second = (a * b).mean(), a.mean() * b.mean()
    third = (a.sum(1) * b.sum(1)).sum() / n**3
    variances = [(m * m).mean() + m.mean() ** 2 - 2 * (m.sum(1) ** 2).sum() / n**3 for m in (a, b)]
    expected = (first + second - 2 * third) / (variances[0] * variances[1]) ** 0.5
    # But for epsilon: 1e-8 of a variance of one half or so.
    assert DistanceCorrelation()(codes).item() == pytest.approx(expected, rel=1e-6)
    assert DistanceCorrelation(epsilon=0.0)(codes).item() == pytest.approx(expected, rel=1e-9)


def test_dimensions_that_are_one_cost_one_for_each_pair():
    codes = normal(20, 1).expand(20, 4)
    # But for epsilon: 1e-8 of a variance of one half or so.
    assert DistanceCorrelation()(codes).item() == pytest.approx(6, rel=1e-6)


def test_it_does_not_see_the_scale_nor_the_sign_of_a_dimension():
    codes = normal(30, 3)
    scaled = codes * torch.tensor([10.0, -100.0, 0.1]) + 5
    # Epsilon is 1e-6 of the least of these variances.
    torch.testing.assert_close(DistanceCorrelation()(scaled), DistanceCorrelation()(codes), rtol=1e-5, atol=0)


def test_a_constant_dimension_depends_on_nothing():
    codes = normal(30, 2)
    more = torch.cat([codes, torch.full((30, 1), 7.0)], 1)
    torch.testing.assert_close(DistanceCorrelation()(more), DistanceCorrelation()(codes), rtol=1e-9, atol=1e-12)


def test_independent_dimensions_cost_less_the_larger_the_batch():
    # Biased up by 1 / N in each pair.
    few, many = (DistanceCorrelation()(normal(n, 4)).item() for n in (64, 512))
    assert many == pytest.approx(few / 8, rel=0.3)


def test_it_is_the_mean_over_branches():
    a, b = normal(8, 3), normal(8, 3, seed=1)
    both = DistanceCorrelation()(a, b)
    torch.testing.assert_close(both, (DistanceCorrelation()(a) + DistanceCorrelation()(b)) / 2, rtol=1e-14, atol=1e-14)
