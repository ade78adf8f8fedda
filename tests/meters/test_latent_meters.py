import math

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ebm import (
    BFGS,
    L1,
    AnnealedImportanceSampling,
    Energy,
    Enumerated,
    Enumeration,
    FreeEnergy,
    GradientDescent,
    ImportanceSampling,
    Laplace,
    Unrolled,
    Variational,
)
from ebm.energies import ConditionalAutoencoder, JointEmbedding, LatentDecoder
from ebm.meters import latent_information, latent_nats, usage
from ebm.meters.landscape import others
from ebm.meters.latent import inferred


class LinearGaussian(Energy):
    """`unit (|y - A x - W z|^2)`."""

    def __init__(self, a, w, unit=1.0):
        super().__init__()
        self.a, self.w, self.unit = a, w, unit

    def latent(self, hx, hy):
        return hy.new_zeros(*(hx[..., :1] + hy[..., :1]).shape[:-1], self.w.shape[1])

    def cost(self, hx, hy, z=None):
        return self.unit * (hy - hx @ self.a.T - z @ self.w.T).square().sum(-1)


def linear(features=5, latents=2, n=300, noise=0.0, unit=1.0, seed=0):
    """An energy and data that it is the energy of, with the latents behind them."""
    a, w = normal(features, 3, seed=seed), normal(features, latents, seed=seed + 1)
    hx, z = normal(n, 3, seed=seed + 2), normal(n, latents, seed=seed + 3)
    hy = hx @ a.T + z @ w.T + noise * normal(n, features, seed=seed + 4)
    return FreeEnergy(LinearGaussian(a, w, unit), BFGS(tolerance=1e-9)), hx, hy, z


def channel(w, covariance, variance):
    """Nats over `y = W z + noise`: of all of y less of the noise."""
    whole = w @ covariance @ w.T + variance * torch.eye(len(w), dtype=torch.float64)
    return float(whole.logdet() - len(w) * math.log(variance)) / 2


@given(seed=st.integers(0, 2**16), variance=st.sampled_from([1e-3, 0.1, 10.0]), unit=st.sampled_from([1.0, 1e-3, 50.0]))
def test_the_information_is_the_capacity_of_a_linear_gaussian_channel(seed, variance, unit):
    F, hx, hy, z = linear(seed=seed, unit=unit)
    found = latent_information(F, hx, hy, temperature=2 * variance * unit)
    # Solved to 1e-9, of which the covariance keeps about six digits.
    assert found == pytest.approx(channel(F.energy.w, z.T.cov(correction=0), variance), rel=1e-5)


def test_the_information_is_the_mutual_information_of_the_distribution_behind_the_data():
    F, hx, hy, _ = linear(latents=3, n=20_000)
    truth = channel(F.energy.w, torch.eye(3, dtype=torch.float64), 0.04)
    # The covariance of 20,000 draws is off by about 1 %, of which a logarithm makes hundredths of a nat.
    assert latent_information(F, hx, hy, temperature=0.08) == pytest.approx(truth, abs=0.03)


def test_the_default_temperature_is_noise_of_a_tenth_of_the_deviation_of_each_feature():
    F, hx, hy, z = linear(n=1000, features=4, latents=2)
    other = others(1000)
    nothing = (hy - hx[other] @ F.energy.a.T - z[other] @ F.energy.w.T).square().sum(-1).mean()
    variance = 0.01 * float(nothing) / 4 / 2
    assert latent_nats(F, hx, hy)["latent_nats"] == pytest.approx(
        channel(F.energy.w, z.T.cov(correction=0), variance), rel=1e-5
    )
    # Of two independent draws the mean squared difference is twice the variance, to a tenth for a thousand of them.
    assert variance == pytest.approx(0.01 * float(hy.var(0).mean()), rel=0.1)


def test_the_default_has_no_unit():
    once = latent_nats(*linear(unit=1.0)[:3])["latent_nats"]
    assert latent_nats(*linear(unit=200.0)[:3])["latent_nats"] == pytest.approx(once, rel=1e-6)


def test_a_change_of_variables_of_z_changes_nothing():
    F, hx, hy, _ = linear(latents=3)
    mixed = F.energy.w @ normal(3, 3, seed=9)
    G = FreeEnergy(LinearGaussian(F.energy.a, mixed), BFGS(tolerance=1e-9))
    assert latent_nats(G, hx, hy)["latent_nats"] == pytest.approx(latent_nats(F, hx, hy)["latent_nats"], rel=1e-5)


def test_a_latent_that_no_one_looks_at_tells_nothing():
    F, hx, hy, _ = linear()
    G = FreeEnergy(LinearGaussian(F.energy.a, 0 * F.energy.w))
    assert latent_nats(G, hx, hy) == {"latent_nats": 0.0}


def test_an_energy_without_a_latent_tells_nothing_by_it():
    energy = JointEmbedding.small().double()
    hx, hy = energy.encode(normal(8, 8), normal(8, 8, seed=1))
    F = FreeEnergy(energy)
    assert inferred(F, hx, hy) is None
    assert latent_nats(F, hx, hy) == {"latent_nats": 0.0}
    assert {usage(F, hx, hy)[name] for name in ("without_z", "other_z")} == {1.0}
    assert latent_nats(lambda hx, hy: hy.sum(-1), hx, hy) == {"latent_nats": 0.0}


def test_a_latent_chosen_from_few_tells_the_entropy_of_its_choices():
    book = torch.eye(4, dtype=torch.float64)
    F = FreeEnergy(LatentDecoder(nn.Linear(4, 4, bias=False).double(), 4), Enumeration(book))
    nn.init.eye_(F.energy.decoder.weight)
    counts = torch.tensor([1, 2, 5, 8])
    hy = book.repeat_interleave(counts, 0)
    p = counts.double() / 16
    assert latent_nats(F, 0 * hy, hy)["latent_nats"] == pytest.approx(float(-(p * p.log()).sum()), rel=1e-12)


def test_a_latent_averaged_over_candidates_is_the_best_of_them():
    book = torch.eye(4, dtype=torch.float64)
    energy = LatentDecoder(nn.Linear(4, 4).double(), 4)
    hy = normal(20, 4)
    z = inferred(FreeEnergy(energy, marginal=Enumerated(candidates=book)), 0 * hy, hy)
    energies = torch.stack([energy.cost(0 * hy, hy, row.expand_as(hy)) for row in book])
    assert torch.equal(z, book[energies.argmin(0)])


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.inf, math.nan])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature"):
        latent_information(*linear(n=4)[:3], temperature)


@pytest.mark.parametrize(
    "settings",
    [
        {"penalty": L1(0.1)},
        {"restarts": 2},
        {"marginal": Laplace(beta=5.0)},
        {"marginal": Variational(beta=5.0)},
        {"marginal": Variational(beta=math.inf)},
        {"marginal": ImportanceSampling(beta=5.0)},
        {"marginal": AnnealedImportanceSampling(beta=5.0)},
        {"solver": GradientDescent(steps=0), "adjoint": Unrolled()},
    ],
)
def test_the_latent_is_inferred_as_the_free_energy_does_whatever_its_settings(settings):
    F, hx, hy, _ = linear(n=40)
    G = FreeEnergy(F.energy, **settings)
    z = inferred(G, hx, hy)
    assert z.shape == (40, 2)
    assert not z.requires_grad
    assert all(math.isfinite(value) for value in (usage(G, hx, hy) | latent_nats(G, hx, hy)).values())


def test_a_penalised_latent_tells_less():
    F, hx, hy, _ = linear()
    G = FreeEnergy(F.energy, penalty=L1(20.0))
    assert 0 < latent_nats(G, hx, hy)["latent_nats"] < latent_nats(F, hx, hy)["latent_nats"] - 0.5


def test_usage_is_the_share_of_the_energy_that_is_there_without():
    F, hx, hy, _ = linear(features=8, noise=0.5)
    a, w = F.energy.a, F.energy.w
    outside = torch.eye(8, dtype=torch.float64) - w @ torch.linalg.pinv(w)

    def best(x):  # what no z can explain
        return float(((hy - x @ a.T) @ outside).square().sum(1).mean())

    z = (hy - hx @ a.T) @ torch.linalg.pinv(w).T

    def with_z(z):
        return float((hy - hx @ a.T - z @ w.T).square().sum(1).mean())

    other = others(len(hx))
    found = usage(F, hx, hy)
    assert found["without_x"] == pytest.approx(best(hx) / best(hx.mean(0).expand_as(hx)), rel=1e-6)
    assert found["other_x"] == pytest.approx(best(hx) / best(hx[other]), rel=1e-6)
    assert found["without_z"] == pytest.approx(with_z(z) / with_z(z.mean(0)), rel=1e-6)
    assert found["other_z"] == pytest.approx(with_z(z) / with_z(z[other]), rel=1e-6)


def test_a_latent_that_knows_everything_leaves_x_nothing_to_tell():
    F, hx, hy, _ = linear(features=4, latents=4)
    found = usage(F, hx, hy)
    assert found["other_z"] < 1e-6
    blind = FreeEnergy(LinearGaussian(0 * F.energy.a, F.energy.w[:, :2]))
    assert usage(blind, hx, hy)["without_x"] == 1
    assert usage(blind, hx, hy)["other_x"] == 1


@pytest.mark.parametrize(
    "fn", [lambda hy: 0 * hy.sum(-1), lambda hy: 0 * hy.sum(-1) + 3, lambda hy: 0 * hy.sum(-1) - 3]
)
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_a_constant_energy_loses_nothing_and_tells_nothing(fn, rows):
    class Constant(Energy):
        def latent(self, hx, hy):
            return hy.new_zeros(*hy.shape[:-1], 2)

        def cost(self, hx, hy, z=None):
            return fn(hy) + 0 * z.sum(-1)

    F, hy = FreeEnergy(Constant()), normal(rows, 3)
    assert set(usage(F, hy, hy).values()) == {1.0}
    assert latent_nats(F, hy, hy) == {"latent_nats": 0.0}


def test_usage_has_no_unit_and_takes_energies_below_zero():
    class Moved(Energy):
        def __init__(self, scale, shift):
            super().__init__()
            self.scale, self.shift = scale, shift

        def cost(self, hx, hy, z=None):
            return self.scale * (hx - hy).square().sum(-1) + self.shift

    hx, hy = normal(50, 3), normal(50, 3) + 0.3 * normal(50, 3, seed=1)
    once = usage(FreeEnergy(Moved(1.0, 0.0)), hx, hy)
    assert usage(FreeEnergy(Moved(1e-20, 0.0)), hx, hy) == pytest.approx(once, rel=1e-9)
    below = usage(FreeEnergy(Moved(1.0, -100.0)), hx, hy)
    assert all(0 <= value <= 1 for value in below.values())
    assert below["other_x"] < 0.5


def test_latents_of_several_parts_are_read_as_one():
    class Parts(Energy):
        def latent(self, hx, hy):
            return {"a": hy.new_zeros(*hy.shape[:-1], 1), "b": hy.new_zeros(*hy.shape[:-1], 1)}

        def cost(self, hx, hy, z=None):
            return (hy - torch.cat([z["a"], 2 * z["b"]], -1)).square().sum(-1)

    hy = normal(50, 2)
    F = FreeEnergy(Parts(), BFGS(tolerance=1e-9))
    whole = FreeEnergy(
        LinearGaussian(torch.zeros(2, 2, dtype=torch.float64), torch.diag(torch.tensor([1.0, 2.0]).double()))
    )
    assert latent_nats(F, hy, hy)["latent_nats"] == pytest.approx(
        latent_nats(FreeEnergy(whole.energy, BFGS(tolerance=1e-9)), hy, hy)["latent_nats"], rel=1e-6
    )
    assert usage(F, hy, hy)["other_z"] < 1e-6


def test_a_predicted_latent_is_the_one_that_is_judged():
    energy = ConditionalAutoencoder.small().double()
    hx, hy = normal(20, 8), normal(20, 8, seed=1)
    F = FreeEnergy(energy, GradientDescent(steps=0), Unrolled())
    torch.testing.assert_close(inferred(F, hx, hy), energy.predict(hx, hy).detach())
