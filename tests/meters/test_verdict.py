import math

import pytest
import torch
from conftest import Shifted, normal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ebm import Energy, FreeEnergy
from ebm.data import collapsed
from ebm.distances import CosineDistance
from ebm.energies import Density, JointEmbedding
from ebm.meters import diagnose, readings
from ebm.meters.intrinsic_dimension import maximum_likelihood
from ebm.meters.kinds import ADVICE, MEANING, SEVERITY, THRESHOLDS, WHY
from ebm.meters.spectrum import singular_values
from ebm.networks import MLP

DISTANCE = FreeEnergy(JointEmbedding(nn.Identity()))
COSINE = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance()))

HEALTHY = [
    collapsed.Gaussian(),
    collapsed.Gaussian(deviation=0.3, mean=1.0),
    collapsed.Gaussian(mean=30.0),
    collapsed.Sphere(),
    collapsed.HeavyTails(),
    collapsed.Decaying(exponent=2.0),
    collapsed.Classes(separation=2.0),
]
FAULTS = [
    collapsed.Point(spread=0.0),
    collapsed.Point(spread=0.01),
    collapsed.Shrunk(scale=1e-3),
    collapsed.Subspace(share=0.05),
    collapsed.Subspace(share=0.2, noise=0.01),
    collapsed.Surface(dimensions=1),
    collapsed.Surface(dimensions=2, noise=0.05),
    collapsed.Clusters(spread=0.0),
    collapsed.Clusters(number=20, spread=0.1),
    collapsed.ConstantTarget(),
    collapsed.ConstantPrediction(),
    collapsed.Unrelated(),
]


def pair(codes, count=256, features=32, seed=0):
    return codes.draw(count, features, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("codes", [*HEALTHY, *FAULTS], ids=str)
def test_the_first_of_the_verdict_is_the_kind_that_the_codes_were_made_of(codes):
    verdict = diagnose(DISTANCE, *pair(codes))
    assert verdict.kind == codes.kind, str(verdict)
    assert verdict.collapsed == (codes.kind != "none")


def test_a_latent_of_all_features_explains_any_y_and_one_of_few_does_not():
    hx, hy = pair(collapsed.Gaussian(), features=12)
    assert diagnose(FreeEnergy(collapsed.Explained(12)), hx, hy).kinds == ("latent",)
    assert diagnose(FreeEnergy(collapsed.Explained(3)), hx, hy).kinds == ("none",)


def test_a_code_shrunk_to_a_point_is_one_though_its_rank_is_the_highest():
    hx, hy = pair(collapsed.Shrunk(scale=1e-3))
    assert readings.effective_share(singular_values(hy), hy) > 0.9
    assert diagnose(DISTANCE, hx, hy).kinds == ("complete",)


def test_what_an_energy_cannot_see_is_no_collapse():
    """A cosine does not see length, a distance does not see where the origin is, and each sees the other's."""
    shrunk, far = pair(collapsed.Gaussian(deviation=1e-3)), pair(collapsed.Gaussian(mean=30.0))
    assert diagnose(COSINE, *shrunk).kinds == ("none",)
    assert diagnose(DISTANCE, *shrunk).kinds == ("complete",)
    assert diagnose(DISTANCE, *far).kinds == ("none",)
    assert "complete" in diagnose(COSINE, *far).kinds


def test_a_constant_added_to_the_energy_changes_no_verdict():
    hx, hy = pair(collapsed.Gaussian())
    for energy in (DISTANCE.energy, COSINE.energy):
        once, shifted = diagnose(FreeEnergy(energy), hx, hy), diagnose(FreeEnergy(Shifted(energy, 5.0)), hx, hy)
        assert shifted.kinds == once.kinds
        assert shifted.numbers == pytest.approx(once.numbers, rel=1e-6)  # AUROC of energies rounded around 5


def test_branches_that_went_to_different_points_are_a_target_that_went_along():
    hx, hy = pair(collapsed.Point(spread=1e-3))
    assert diagnose(DISTANCE, hx, hy).kinds == ("complete",)
    assert diagnose(DISTANCE, hx + 0.01, hy).kinds == ("target", "complete")


def test_all_kinds_that_hold_are_listed_from_the_worst():
    """Eight clusters span seven directions of 128."""
    verdict = diagnose(DISTANCE, *pair(collapsed.Clusters(spread=1e-3), features=128))
    assert verdict.kinds == ("cluster", "dimensional")
    assert [kind for kind in SEVERITY if kind in verdict.kinds] == list(verdict.kinds)
    assert all((verdict.degrees[kind] > 1) == (kind in verdict.kinds) for kind in SEVERITY)


@pytest.mark.parametrize("count", [2, 5, 63])
def test_of_few_samples_it_says_so_unless_they_are_a_point(count):
    assert diagnose(DISTANCE, *pair(collapsed.Gaussian(), count=count)).kinds == ("too few samples",)
    assert diagnose(DISTANCE, *pair(collapsed.Point(spread=0.0), count=count)).kinds == ("complete",)
    assert not diagnose(DISTANCE, *pair(collapsed.Gaussian(), count=count)).collapsed


def test_64_samples_are_enough_for_a_verdict():
    assert diagnose(DISTANCE, *pair(collapsed.Gaussian(), count=64)).kinds == ("none",)


def test_the_verdict_is_the_same_each_time_and_leaves_the_global_generator_alone():
    hx, hy = pair(collapsed.Classes(), count=1500)
    state = torch.get_rng_state()
    once = diagnose(DISTANCE, hx, hy)
    assert torch.get_rng_state().equal(state)
    assert diagnose(DISTANCE, hx, hy) == once


def test_at_most_so_many_rows_are_looked_at_drawn_from_all():
    """Rows in order of class: the first 256 are one class, a point, and all of them are not."""
    hx = torch.cat([torch.zeros(256, 8), normal(256, 8, dtype=torch.float32)])
    assert diagnose(None, None, hx, rows=100).kind == "none"
    assert diagnose(None, None, hx[:256], rows=100).kind == "complete"


DEGENERATE = {
    "zeros": torch.zeros(80, 5),
    "all the same": torch.full((80, 5), 0.1),
    "rank one": normal(80, 1) * torch.ones(5, dtype=torch.float64),
    "duplicates": normal(4, 5).repeat(20, 1),
    "one dimension": normal(80, 1),
    "two values": (normal(80, 3) > 0).double(),
    "one far away": torch.cat([torch.zeros(79, 5), torch.full((1, 5), 1e6)]),
    "fewer rows than dimensions": normal(70, 200),
    "huge": 1e30 * normal(80, 5, dtype=torch.float32),
    "largest": 3e38 * normal(80, 5, dtype=torch.float32).sign(),
    "huge in double precision": 1e300 * normal(80, 5),
    "tiny": 1e-30 * normal(80, 5, dtype=torch.float32),
    "subnormal": 1e-310 * normal(80, 5),
    "half precision": normal(80, 5).half(),
    "bfloat16": normal(80, 5).bfloat16(),
    "two rows": normal(2, 5),
    "a grid": torch.cartesian_prod(torch.arange(9.0), torch.arange(9.0)),
}


@pytest.mark.parametrize("F", [None, DISTANCE, COSINE], ids=["no energy", "distance", "cosine"])
@pytest.mark.parametrize("name", DEGENERATE)
def test_of_any_finite_codes_every_number_is_finite(name, F):
    codes = DEGENERATE[name]
    for hx in (codes, codes.flip(0), None):
        verdict = diagnose(F, hx, codes)
        assert verdict.kinds
        assert all(math.isfinite(value) for value in verdict.numbers.values()), verdict.numbers
        assert all(0 <= degree <= 100 for degree in verdict.degrees.values())


@given(rows=st.integers(2, 90), features=st.integers(1, 9), exponent=st.integers(-30, 30), seed=st.integers(0, 2**16))
def test_numbers_are_finite_whatever_the_shape_and_the_scale(rows, features, exponent, seed):
    codes = 10.0**exponent * normal(rows, features, seed=seed)
    verdict = diagnose(DISTANCE, codes, codes.round(decimals=1))
    assert all(math.isfinite(value) for value in verdict.numbers.values())


def test_an_energy_that_is_not_finite_or_flat_tells_nothing_apart():
    class Constant(Energy):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def cost(self, hx, hy, z=None):
            return torch.full_like((hx + hy)[..., 0], self.value)

    for value in (0.0, math.nan, math.inf, -math.inf):
        verdict = diagnose(FreeEnergy(Constant(value)), *pair(collapsed.Gaussian()))
        assert verdict.kind == "target"
        assert verdict.numbers["energy tells pairs apart"] == 0.5


def test_an_energy_of_y_alone_is_held_against_y_that_cannot_be():
    """`E = (|y| - 1)^2` ignores x: that features of different samples are on no circle tells how good it is."""

    class Circle(Energy):
        def cost(self, hx, hy, z=None):
            return (hy.norm(dim=-1) - 1).square()

    angles = math.tau * torch.rand(300, generator=torch.Generator().manual_seed(0))
    y = torch.stack([angles.cos(), angles.sin()], 1) + 0.05 * normal(300, 2)
    verdict = diagnose(FreeEnergy(Circle()), normal(300, 2, seed=2), y)
    assert verdict.numbers["energy tells pairs apart"] > 0.8
    assert "target" not in verdict.kinds


@pytest.mark.parametrize("hx", [None, torch.empty(100, 0)])
def test_an_energy_without_x_is_judged_by_its_codes(hx):
    F = FreeEnergy(Density(MLP([4, 8, 1])))
    assert diagnose(F, hx, normal(100, 4, dtype=torch.float32)).kinds == ("none",)
    assert diagnose(F, hx, torch.zeros(100, 4)).kinds == ("complete",)


def test_codes_of_unlike_widths_are_judged_each_by_itself():
    class Sum(Energy):
        def cost(self, hx, hy, z=None):
            return (hx.sum(-1) - hy.sum(-1)).square()

    hx = normal(200, 3)
    hy = torch.cat([hx, normal(200, 2, seed=1) / 10], 1)
    assert diagnose(FreeEnergy(Sum()), hx, hy).kinds == ("none",)
    assert diagnose(FreeEnergy(Sum()), 0 * hx, hy).kinds == ("target",)


@pytest.mark.parametrize(
    ("hx", "hy", "message"),
    [
        (normal(9, 3), normal(8, 3), "9 and 8 rows"),
        (None, torch.full((9, 3), math.nan), "9 of 9 rows with NaN"),
        (torch.full((9, 3), math.inf), normal(9, 3), "NaN or infinity"),
        (None, normal(1, 3), "at least 2 codes"),
    ],
)
def test_codes_that_no_verdict_can_be_made_of_are_refused(hx, hy, message):
    with pytest.raises(ValueError, match=message):
        diagnose(None, hx, hy)


def test_a_verdict_prints_its_kinds_what_helps_and_each_number_with_its_threshold():
    verdict = diagnose(DISTANCE, *pair(collapsed.Subspace(share=0.05)))
    text = str(verdict)
    assert text.startswith("collapse: dimensional; codes lie in a subspace")
    assert verdict.advice in text
    assert "effective rank" in verdict.why
    for name in verdict.numbers:
        assert name in text
        assert MEANING[name.removesuffix(" of x")] in text


def test_every_kind_has_a_meaning_and_advice_and_every_reading_a_threshold():
    assert set(WHY) == set(ADVICE) == {*SEVERITY, "none", "too few samples"}
    assert set(THRESHOLDS) == set(MEANING)
    assert all(ADVICE[kind] for kind in SEVERITY)


def test_a_gap_is_the_ratio_of_distances_around_a_cluster_by_a_loop():
    codes = torch.cat([normal(40, 3) / 10, 5 + normal(40, 3, seed=1) / 10])
    ratios = []
    for row in codes:
        distances = sorted(float((row - other).norm()) for other in codes)[1:]
        ratios.append(max(distances[k + 1] / distances[k] for k in range(7, 40)))
    ratios.sort()
    assert readings.gap(codes) == pytest.approx(ratios[39], rel=1e-6)  # torch's median is the lower one


def dropped(codes):
    return readings.drop(singular_values(codes), codes)


def test_a_drop_is_the_ratio_of_deviations_where_a_subspace_ends():
    scales = torch.tensor([5.0, 4.0, 0.1, 0.09, 0.08, 0.07], dtype=torch.float64)
    whitened = torch.linalg.qr(normal(200, 6) - normal(200, 6).mean(0)).Q
    assert dropped(whitened * scales) == pytest.approx(40, rel=1e-9)
    # With a third of the variance beyond, no subspace ends there.
    assert dropped(whitened * torch.tensor([5.0, 4.0, 2.5, 2.4, 2.3, 2.2])) == 1


def surface(codes):
    return readings.surface_share(singular_values(codes), codes)


def test_copies_of_codes_make_no_surface_of_them():
    codes = normal(200, 16)
    assert surface(codes.repeat(2, 1)) == pytest.approx(surface(codes.unique(dim=0)), rel=1e-6)
    assert surface(codes) > 0.8


def test_the_share_of_a_surface_is_that_of_dimensions_by_maximum_likelihood_where_all_are_asked():
    """Of a plane in ten dimensions whose every direction is filled, by sines; the normal codes are those of seed 0."""
    codes = collapsed.Surface(dimensions=2, jitter=0).draw(200, 10, torch.Generator().manual_seed(0))[1].double()
    codes = codes.unique(dim=0)
    draws = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)).double() * singular_values(codes)
    ratios = [maximum_likelihood(codes, k) / maximum_likelihood(draws, k) for k in (2, 20)]
    assert surface(codes) == pytest.approx(math.sqrt(ratios[0] * ratios[1]), rel=1e-6)


def test_distances_to_neighbours_are_those_of_a_loop_without_itself_and_with_copies():
    codes = torch.cat([normal(30, 3), normal(5, 3)])
    found = readings.neighbours(codes, 34, 35)
    expected = [sorted(float((row - other).norm()) for other in codes)[1:] for row in codes]
    # Products lose half of the digits of a distance near zero.
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), atol=1e-7, rtol=1e-9)


def test_branches_apart_is_the_mean_of_squared_t_statistics():
    hx, hy = normal(50, 4) + 0.3, normal(50, 4, seed=1)
    difference = (hx - hy).numpy()
    t = difference.mean(0) / (difference.std(0) / 50**0.5)
    assert readings.branches_apart(hx, hy) == pytest.approx(float((t**2).mean()), rel=1e-6)


@pytest.mark.parametrize(("F", "expected"), [(DISTANCE, False), (COSINE, True), (None, False)])
def test_an_energy_is_asked_whether_it_sees_directions_alone(F, expected):
    hx, hy = pair(collapsed.Gaussian(), count=4)
    assert readings.directions_alone(F, hx, hy) is expected
    assert readings.directions_alone(F, hx.double(), hy.double()) is expected
