import math

import pytest
import torch
from conftest import every

from ebm import FreeEnergy
from ebm.data import collapsed
from ebm.data.collapsed import Codes, Explained, Surface, rotation
from ebm.meters.kinds import SEVERITY

COUNT, FEATURES = 4096, 12


def drawn(codes, count=COUNT, features=FEATURES, seed=0):
    return codes.draw(count, features, torch.Generator().manual_seed(seed))


def covariance(codes):
    return codes.double().T.cov(correction=0)


@pytest.mark.parametrize("cls", every("ebm.data.collapsed", Codes))
def test_codes_are_finite_pairs_of_views_that_the_generator_alone_decides(cls):
    torch.manual_seed(1)
    hx, hy = drawn(cls())
    torch.manual_seed(2)
    again = drawn(cls())
    assert hx.shape == hy.shape == (COUNT, FEATURES)
    assert bool(hx.isfinite().all() & hy.isfinite().all())
    assert hx.equal(again[0])
    assert hy.equal(again[1])
    assert cls.kind in ("none", *SEVERITY)


@pytest.mark.parametrize("cls", every("ebm.data.collapsed", Codes))
def test_two_views_are_nearer_to_each_other_than_to_those_of_others_unless_one_says_nothing(cls):
    hx, hy = drawn(cls())
    matching, others = ((hx - other).square().sum(1).mean() for other in (hy, hy.roll(1, 0)))
    if cls.kind == "target":
        # Two means of 4,096 independent squares of about 24 with a deviation of about 7.
        assert matching == pytest.approx(float(others), rel=0.05)
    else:
        assert matching < others / 2


def test_a_surface_of_any_dimension_has_the_identity_for_its_covariance():
    for dimensions in (1, 2, 4):
        _, hy = drawn(Surface(dimensions=dimensions), count=40_000)
        # 78 entries of standard error 1 / 200 and below, five of them.
        torch.testing.assert_close(covariance(hy), torch.eye(FEATURES, dtype=torch.float64), atol=0.025, rtol=0)


def test_a_surface_of_one_dimension_is_a_closed_curve():
    """Points in the order of their place are next to each other, the last and the first too."""
    codes = Surface(dimensions=1, jitter=0.0)
    hx, _ = drawn(codes, count=2000)
    place = torch.rand(2000, 1, generator=torch.Generator().manual_seed(0))[:, 0]
    curve = hx[place.argsort()]
    steps = (curve - curve.roll(1, 0)).square().sum(1).sqrt()
    # The longest gap between 2,000 places is about log(2000) / 2000, at a speed below 2 pi 6 sqrt(12).
    assert steps.max() < 2 * math.log(2000) / 2000 * 2 * math.pi * 6 * math.sqrt(12)


def test_waves_are_the_shortest_without_zero_and_opposites():
    for dimensions, count in ((1, 5), (2, 30), (3, 40), (4, 128)):
        waves = collapsed._waves(dimensions, count)
        rows = {tuple(row) for row in waves.int().tolist()}
        assert len(rows) == count
        assert (0,) * dimensions not in rows
        assert not rows & {tuple(-k for k in row) for row in rows}
        axis = torch.arange(-6, 7) if dimensions > 1 else torch.arange(-count, count + 1)
        lengths = torch.cartesian_prod(*[axis] * dimensions).view(-1, dimensions).square().sum(1).sort().values
        assert waves.square().sum(1).amax() == lengths[2 * count]  # each with its opposite, and zero


def test_a_subspace_has_as_many_directions_as_it_says_and_noise_fills_the_rest():
    _, hy = drawn(collapsed.Subspace(share=0.25))
    values = torch.linalg.svdvals(hy.double() - hy.double().mean(0))
    assert int((values > 1e-4 * values[0]).sum()) == 3
    _, noisy = drawn(collapsed.Subspace(share=0.25, noise=0.1))
    values = torch.linalg.svdvals(noisy.double() - noisy.double().mean(0))
    # A deviation of .1 to three digits at 4,096 samples of nine directions, which spread by a few per cent.
    assert values[3:].square().mean().sqrt() / COUNT**0.5 == pytest.approx(0.1, rel=0.05)


def test_variances_of_a_decaying_spectrum_are_powers_of_the_rank():
    _, hy = drawn(collapsed.Decaying(exponent=2.0), count=40_000)
    expected = torch.arange(1, FEATURES + 1).double() ** -2
    # Relative errors of a variance of 40,000 normal samples: 0.7 % each.
    torch.testing.assert_close(torch.linalg.eigvalsh(covariance(hy)).flip(0), expected, rtol=0.04, atol=0)


@pytest.mark.parametrize("latents", [3, 8])
def test_what_a_latent_can_explain_is_what_the_energy_loses_by_it(latents):
    hx, hy = drawn(collapsed.Gaussian(), count=20, features=8)
    left = (hy - hx)[:, latents:].square().sum(1)
    # A solver stops at a gradient of 1e-4 or so in single precision.
    torch.testing.assert_close(FreeEnergy(Explained(latents))(hx, hy), left, atol=1e-5, rtol=1e-4)


def test_a_rotation_keeps_lengths_and_angles():
    turn = rotation(9, torch.Generator().manual_seed(0))
    torch.testing.assert_close(turn @ turn.T, torch.eye(9), atol=1e-5, rtol=0)  # rounding in single precision
