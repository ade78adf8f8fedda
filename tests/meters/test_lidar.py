import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.meters import discriminant_rank, lidar

seeds = st.integers(0, 2**16)


def by_the_paper(codes, shrinkage):
    """Thilak et al. 2024, section 3, as it stands there, but without the 1e-7."""
    samples, views, features = codes.shape
    means = codes.mean(1)
    centre = means.mean(0)
    between = sum(torch.outer(m - centre, m - centre) for m in means) / (samples - 1)
    within = sum(torch.outer(h - m, h - m) for hs, m in zip(codes, means, strict=True) for h in hs)
    within = within / (samples * (views - 1)) + shrinkage * torch.eye(features)
    values, axes = torch.linalg.eigh(within)
    root = axes @ torch.diag(values**-0.5) @ axes.T
    p = torch.linalg.eigvalsh(root @ between @ root).clamp_min(0)
    p = p / p.sum()
    return float(torch.special.entr(p).sum().exp())


def variance_of(codes):
    """The mean over dimensions of the variance between means and within, with the paper's denominators."""
    samples, views, _ = codes.shape
    means = codes.mean(1)
    within = (codes - means[:, None]).square().sum((0, 1)) / (samples * (views - 1))
    return float((means.var(0) + within).mean())


@pytest.mark.parametrize("shape", [(6, 3, 4), (3, 2, 9), (30, 2, 3), (4, 5, 20)], ids=str)
@given(seed=seeds, noise=st.sampled_from([0.01, 0.3, 3.0]))
def test_lidar_is_the_formula_of_the_paper_with_a_shrinkage_relative_to_the_variance(shape, seed, noise):
    codes = normal(shape[0], 1, shape[2], seed=seed) + noise * normal(*shape, seed=seed + 1)
    expected = by_the_paper(codes, 1e-4 * variance_of(codes))
    # A Cholesky factor of a condition of 1e4 at most, where theirs is a root.
    assert lidar(codes) == pytest.approx(expected, rel=1e-8)


@given(k=st.integers(1, 6), seed=seeds)
def test_k_directions_of_samples_over_even_noise_are_a_lidar_of_k(k, seed):
    # Means on both sides of the origin along k axes, views on both sides of the means along all.
    means = torch.cat([torch.eye(6)[:k], -torch.eye(6)[:k]]).double()
    views = torch.cat([torch.eye(6), -torch.eye(6)]).double() / 10
    turn = torch.linalg.qr(normal(6, 6, seed=seed)).Q
    assert lidar((means[:, None] + views) @ turn) == pytest.approx(k, rel=1e-9)


def test_views_of_one_shape_are_the_same_however_they_are_given():
    codes = normal(8, 3, 5)
    assert lidar(*codes.unbind(1)) == lidar(codes)


def test_the_order_of_samples_and_of_views_is_nothing_to_lidar():
    codes = normal(8, 3, 5)
    assert lidar(codes.flip(0)) == pytest.approx(lidar(codes), rel=1e-12)
    assert lidar(codes[:, [2, 0, 1]]) == pytest.approx(lidar(codes), rel=1e-12)


def test_samples_that_are_mixed_up_have_another_lidar():
    # Two strong directions of samples and six of noise: by their places in a queue all eight are noise.
    codes = normal(40, 1, 8) * torch.tensor([1.0] * 2 + [0.0] * 6) + 0.1 * normal(40, 2, 8, seed=1)
    mixed = torch.stack([codes[:, 0], codes[torch.arange(40).roll(1), 1]], 1)
    assert lidar(codes) < 2.5
    assert lidar(mixed) > 6


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e30])
def test_lidar_is_free_of_scale(scale):
    codes = normal(9, 2, 4)
    assert lidar(scale * codes) == pytest.approx(lidar(codes), rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_degenerate_views_have_finite_numbers(dtype):
    same = normal(9, 1, 4, dtype=dtype).expand(9, 2, 4)
    assert lidar(torch.zeros(9, 2, 4, dtype=dtype)) == 0
    assert lidar(torch.ones(9, 2, 4, dtype=dtype)) == 0
    assert 1 <= lidar(same) <= 4
    assert lidar(normal(1, 2, 4, dtype=dtype).expand(9, 2, 4)) == 0


def test_of_pairs_the_views_are_the_two_codes():
    hx, hy = normal(9, 4), normal(9, 4, seed=1)
    assert discriminant_rank(None, hx, hy) == {"lidar": lidar(torch.stack([hx, hy], 1))}


@pytest.mark.parametrize(
    "views",
    [(), (normal(4, 3),), (normal(4, 2, 3), normal(4, 2, 3)), (normal(4, 3), normal(5, 3))],
    ids=["none", "one without views", "two groups", "of two sizes"],
)
def test_what_is_not_grouped_by_samples_is_refused(views):
    with pytest.raises(ValueError, match=r"\(samples, views, features\), or .* got .*group rows by the sample"):
        lidar(*views)


@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 1, 3)], ids=str)
def test_one_sample_or_one_view_is_refused(shape):
    with pytest.raises(ValueError, match="two samples of two views each at least"):
        lidar(normal(*shape))
