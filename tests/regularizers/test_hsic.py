import pytest
import torch
from conftest import normal
from dependence import assert_same, value_of

from ebm.regularizers import HSIC, RandomFeatureHSIC

shapes = pytest.mark.parametrize("shape", [(2, 3), (12, 1), (12, 4), (9, 20)], ids=str)


def standardised(codes, epsilon=1e-5):
    spread = (codes - codes.mean(0)).square().mean(0)
    return (codes - codes.mean(0)) / (spread + epsilon).sqrt()


def criterion(k, m):
    """Gretton et al. 2005, definition 2: `tr(K H M H) / (N - 1)^2`."""
    n = len(k)
    h = torch.eye(n, dtype=k.dtype) - 1 / n
    return torch.trace(k @ h @ m @ h) / (n - 1) ** 2


def over_pairs(matrices):
    pairs = [criterion(a, b) for i, a in enumerate(matrices) for b in matrices[:i]]
    return sum(pairs)


def written_out(widths):
    def kernel(x):
        squares = torch.stack([torch.stack([(a - b) ** 2 for b in x]) for a in x])
        return sum(torch.exp(-squares / (2 * w**2)) for w in widths) / len(widths)

    return lambda codes: over_pairs([kernel(x) for x in standardised(codes).T])


def features_written_out(codes, frequencies, widths):
    drawn = torch.randn(codes.shape[1], len(widths), frequencies).double()
    matrices = []
    for x, draws in zip(standardised(codes).T, drawn, strict=True):
        count = len(widths) * frequencies
        angles = [x * f / w for w, of_width in zip(widths, draws, strict=True) for f in of_width]
        p = torch.stack([wave for a in angles for wave in (a.cos(), a.sin())], 1) / count**0.5
        matrices.append(p @ p.T)
    return over_pairs(matrices)


@pytest.mark.parametrize("widths", [(1.0,), (0.25, 0.5, 1.0)], ids=str)
@pytest.mark.parametrize("shape", [(2, 3), (12, 4), (9, 20)], ids=str)
def test_it_is_the_formula(shape, widths):
    assert_same(HSIC(widths), written_out(widths), normal(*shape) + 0.5)


@pytest.mark.parametrize("shape", [(2, 3), (9, 5), (60, 4)], ids=["two", "by the gram matrix", "by the covariance"])
def test_with_random_features_it_is_the_formula(shape):
    widths, frequencies = (0.5, 1.0), 3
    assert_same(
        RandomFeatureHSIC(frequencies, widths),
        lambda codes: features_written_out(codes, frequencies, widths),
        normal(*shape) + 0.5,
    )


def test_over_draws_of_features_it_is_that_of_the_kernels():
    codes = normal(30, 3) @ normal(3, 3, seed=1)
    torch.manual_seed(0)
    draws = torch.stack([RandomFeatureHSIC()(codes) for _ in range(400)])
    error = draws.std() / 400**0.5
    assert abs(draws.mean() - HSIC()(codes)) < 4 * error
    assert error < 0.02 * HSIC()(codes)  # small enough to tell


@pytest.mark.parametrize("kind", [HSIC, RandomFeatureHSIC])
def test_a_single_dimension_has_no_other_to_depend_on(kind):
    # A difference of two numbers of order one that are equal but for rounding.
    assert kind()(normal(20, 1)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", [HSIC, RandomFeatureHSIC])
def test_it_does_not_see_the_scale_nor_the_sign_of_a_dimension(kind):
    codes = normal(30, 3)
    scaled = codes * torch.tensor([10.0, -100.0, 3.0]) + 5
    # Epsilon is 1e-5 of a variance of one, and next to nothing of more.
    torch.testing.assert_close(value_of(kind(), scaled), value_of(kind(), codes), rtol=1e-3, atol=1e-9)


def test_independent_dimensions_cost_less_the_larger_the_batch():
    # Biased up by 1 / N in each pair.
    few, many = (HSIC()(normal(n, 4)).item() for n in (64, 512))
    assert many == pytest.approx(few / 8, rel=0.2)


@pytest.mark.parametrize("kind", [HSIC, RandomFeatureHSIC])
def test_a_constant_dimension_depends_on_nothing(kind):
    codes = normal(30, 2)
    more = torch.cat([codes, torch.full((30, 1), 7.0)], 1)
    torch.testing.assert_close(value_of(kind(), more), value_of(kind(), codes), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [HSIC, RandomFeatureHSIC])
def test_it_is_the_mean_over_branches_which_may_differ_in_width(kind):
    a, b = normal(8, 3), normal(8, 3, seed=1)
    both = value_of(kind(), a, b)
    torch.testing.assert_close(both, (value_of(kind(), a) + value_of(kind(), b)) / 2, rtol=1e-14, atol=1e-14)
    assert value_of(kind(), a, b[:, :2]).isfinite()


@pytest.mark.parametrize("kind", [HSIC, RandomFeatureHSIC])
@pytest.mark.parametrize("widths", [(), (0.0,), (1.0, -1.0)], ids=str)
def test_kernels_of_no_width_are_refused(kind, widths):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs kernels of positive width, got widths="):
        kind(widths=widths)


def test_features_of_no_frequency_are_refused():
    with pytest.raises(ValueError, match="at least 1 frequency for each width, got 0"):
        RandomFeatureHSIC(frequencies=0)
