import math

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ebm import Energy, FreeEnergy
from ebm.energies import ConditionalAutoencoder, LatentDecoder
from ebm.meters import contrast, energy_gap, slope
from ebm.meters.landscape import flatness, others, references, volume
from ebm.networks import MLP


class Plain(Energy):
    """Any function of the two codes."""

    def __init__(self, fn):
        super().__init__()
        self.fn = fn

    def cost(self, hx, hy, z=None):
        return self.fn(hx, hy)


def codes(n=200, features=6, noise=0.3):
    hx = normal(n, features)
    return hx, hx + noise * normal(n, features, seed=1)


def squared(hx, hy):
    return (hx - hy).square().sum(-1)


def energies(seed, rounded=False):
    low, high = normal(30, seed=seed), 1 + 2 * normal(40, seed=seed + 1)
    return (low.round(), high.round()) if rounded else (low, high)


def test_mismatched_codes_are_those_of_the_other_samples_each_of_them_once():
    for count in (2, 3, 10):
        order = others(count)
        assert sorted(order.tolist()) == list(range(count))
        assert (order != torch.arange(count)).all()


def test_permuted_codes_keep_each_feature_and_lose_what_holds_between_them():
    _, hy = codes(2000, 2)
    hy[:, 1] = hy[:, 0]
    permuted = references(hy)["permuted"]
    assert torch.equal(permuted.sort(0).values, hy.sort(0).values)
    # Correlations of 2,000 independent pairs are within 4 / 2000^(1/2) of zero.
    assert abs(float(permuted.T.corrcoef()[0, 1])) < 0.09


def test_uniform_codes_fill_the_box_of_the_data_evenly():
    _, hy = codes(2000, 3)
    low, high = hy.amin(0), hy.amax(0)
    places = (references(hy)["uniform"] - low) / (high - low)
    assert (places >= 0).all()
    assert (places <= 1).all()
    # Means of 2,000 uniform numbers are within 4 x 12^(-1/2) / 2000^(1/2) of a half.
    assert (places.mean(0) - 0.5).abs().max() < 0.026
    assert (places.var(0) - 1 / 12).abs().max() < 0.01


def test_references_are_the_same_at_each_call_and_leave_the_global_generator_alone():
    _, hy = codes()
    before = torch.get_rng_state()
    first, second = references(hy), references(hy)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)


@given(seed=st.integers(0, 2**16), rounded=st.booleans())
def test_a_volume_is_the_share_of_the_reference_below_the_quantile(seed, rounded):
    low, high = energies(seed, rounded)
    threshold = sorted(low.tolist())[math.ceil(0.95 * (len(low) - 1))]
    assert volume(low, high) == sum(value <= threshold for value in high.tolist()) / len(high)


@given(seed=st.integers(0, 2**16))
def test_flatness_is_one_minus_the_correlation_ratio_of_energies_and_labels(seed):
    low, high = normal(30, seed=seed), 1 + 2 * normal(30, seed=seed + 1)
    pooled = torch.cat([low, high])
    # Of two groups the correlation ratio is the squared correlation of the energies with the label.
    labels = torch.arange(60).ge(30).double()
    expected = 1 - float(torch.stack([pooled, labels]).corrcoef()[0, 1]) ** 2
    assert flatness(low, high) == pytest.approx(expected, rel=1e-10)  # float64, sums of sixty


@given(seed=st.integers(0, 2**16), scale=st.sampled_from([1e-150, 1e-3, 7.0, 1e150]))
def test_the_measures_have_neither_unit_nor_zero(seed, scale):
    low, high = energies(seed)
    shift = 0.0 if scale != 7 else 3.0
    assert flatness(scale * low + shift, scale * high + shift) == pytest.approx(flatness(low, high), rel=1e-9)
    assert volume(scale * low, scale * high) == volume(low, high)


def test_an_energy_that_tells_has_auroc_one_no_volume_and_little_flatness():
    hx, hy = codes(500, 64, 0.1)
    found = contrast(FreeEnergy(Plain(squared)), hx, hy)
    for name in ("mismatched", "permuted", "uniform"):
        assert found[f"auroc_{name}"] == 1
        assert found[f"volume_{name}"] == 0
        # Squared distances over 64 features: about 128 with a deviation of 23, against 0.6.
        assert found[f"flatness_{name}"] < 0.1


@pytest.mark.parametrize("level", [0.0, 0.3, -1e30, 1e-30])
def test_a_constant_energy_is_flat_everywhere(level):
    hx, hy = codes()
    F = FreeEnergy(Plain(lambda hx, hy: torch.full_like(hy[:, 0], level)))
    found = contrast(F, hx, hy)
    assert all(value == {"auroc": 0.5, "volume": 1, "flatness": 1}[name.split("_")[0]] for name, value in found.items())
    assert slope(F, hx, hy) == {"slope_ratio": 1.0}


def test_an_energy_that_looks_at_nothing_but_x_is_flat():
    hx, hy = codes()
    found = contrast(FreeEnergy(Plain(lambda hx, hy: hx.square().sum(-1))), hx, hy)
    assert found["auroc_permuted"] == 0.5
    assert found["flatness_permuted"] == 1
    assert found["volume_permuted"] == pytest.approx(0.95, abs=0.01)  # a quantile of 200


def test_the_auroc_is_that_of_scikit_learn_over_the_references():
    hx, hy = codes()
    F = FreeEnergy(Plain(squared))
    found = contrast(F, hx, hy)
    for name, reference in references(hy).items():
        scores = torch.cat([F(hx, hy), F(hx, reference)])
        expected = roc_auc_score(torch.arange(400).ge(200), scores)
        assert found[f"auroc_{name}"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_energy_that_is_no_number_counts_as_infinite(bad):
    hx, hy = codes()
    known = hy.clone()

    def fn(hx, hy):
        return torch.where((hy == known).all(-1), squared(hx, hy), bad)

    found = contrast(FreeEnergy(Plain(fn)), hx, hy)
    assert found["auroc_permuted"] == 1
    assert all(math.isfinite(value) for value in found.values())


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
@pytest.mark.parametrize("rows", [1, 2])
def test_degenerate_codes_give_finite_numbers(scale, rows):
    hx, hy = (scale * code for code in codes(rows))
    for fn in (squared, lambda hx, hy: -squared(hx, hy)):
        found = contrast(FreeEnergy(Plain(fn)), hx, hy) | slope(FreeEnergy(Plain(fn)), hx, hy)
        assert all(math.isfinite(value) for value in found.values())


def test_the_slope_ratio_of_squared_distances_is_that_of_the_distances():
    hx, hy = codes()
    permuted = references(hy)["permuted"]
    expected = (squared(hx, hy).mean() / squared(hx, permuted).mean()).sqrt()
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            found = slope(FreeEnergy(Plain(squared)), hx, hy)["slope_ratio"]
        assert found == pytest.approx(float(expected), rel=1e-12)  # float64


def test_the_slope_ratio_is_one_where_the_slope_is_the_same_everywhere_and_bounded_where_only_data_are_steep():
    hx, hy = codes()
    assert slope(FreeEnergy(Plain(lambda hx, hy: hy.sum(-1))), hx, hy)["slope_ratio"] == pytest.approx(1, rel=1e-12)
    known = hy.clone()
    spiked = Plain(lambda hx, hy: torch.where((hy == known).all(-1), hy.sum(-1), 0 * hy.sum(-1)))
    assert slope(FreeEnergy(spiked), hx, hy)["slope_ratio"] == 1e6


def test_the_meters_need_no_graph_of_the_energy_and_leave_none():
    energy = ConditionalAutoencoder(MLP([6 + 2, 8, 6], activation=torch.nn.Tanh).double(), 2)
    hx, hy = codes(8)
    with torch.no_grad():
        assert contrast(FreeEnergy(energy), hx, hy)
        assert 0 < slope(FreeEnergy(energy), hx, hy)["slope_ratio"] < 1e6
    assert all(p.grad is None for p in energy.parameters())
    assert not hy.requires_grad


def test_the_gap_of_an_inferred_latent_takes_a_few_solves_a_sample():
    asked = []

    class Counting(Energy):
        def latent(self, hx, hy):
            asked.append(hy.shape[:-1].numel())
            return hy.new_zeros(*hy.shape[:-1], 1)

        def cost(self, hx, hy, z=None):
            return (squared(hx, hy)[..., None] - z).square().sum(-1) + squared(hx, hy)

    hx, hy = codes(100)
    found = energy_gap(FreeEnergy(Counting()), hx, hy)
    assert sum(asked) < 10 * 100
    shifted = torch.cat([squared(hx, hy.roll(shift, 0)) for shift in range(1, 9)])
    # The best z leaves the squared distance, up to the tolerance of the solver.
    assert found["energy_mismatched"] == pytest.approx(float(shifted.mean()), rel=1e-6)
    assert found["auroc"] == pytest.approx(
        roc_auc_score(torch.arange(900).ge(100), torch.cat([squared(hx, hy), shifted])), abs=1e-4
    )


def test_the_gap_of_one_sample_with_a_latent_has_nothing_to_compare():
    hx, hy = codes(1)
    found = energy_gap(FreeEnergy(LatentDecoder(torch.nn.Linear(2, 6).double(), 2)), hx, hy)
    assert math.isfinite(found["energy_matching"])
    assert math.isnan(found["auroc"])
