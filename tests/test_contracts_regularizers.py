"""What holds for every regularizer, found by listing `regularizers/`: a file dropped there is tested by being there."""

from functools import partial

import pytest
import torch
from conftest import every, normal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck
from torch.func import vmap

# Those of latents, which lower information, and of trajectories, which read an order, keep contracts of their own.
KINDS = every("ebm.regularizers", nn.Module, without=("ebm.regularizers.latents", "ebm.regularizers.trajectories"))

regularizers = pytest.mark.parametrize("kind", KINDS)
shapes = st.tuples(st.integers(2, 12), st.integers(1, 6))
seeds = st.integers(0, 2**16)

# The same sums in another order: a few dozen roundings of 2e-16 each, of values up to some hundreds.
ROUNDING = {"atol": 1e-9, "rtol": 1e-9}

# Logarithms, which may be negative, of distances between directions; and dependence between dimensions of any scale.
OF_DIRECTIONS = {"KoLeo", "Uniformity"}
OF_PAIRS = {"HSIC", "RandomFeatureHSIC", "DistanceCorrelation"}

# Each is blind to one way to collapse, by its formula: `tests/regularizers` states it of each.
BLIND_TO_SHRINKING = {"Covariance", "WhitenedDistance", "CodingRate", "FroSSL", "MMCR", *OF_DIRECTIONS, *OF_PAIRS}
BLIND_TO_REPETITION = {"Variance", "WhitenedDistance"}

# They compare codes with N(0, I), whose mean is zero.
AGAINST_A_NORMAL = {"BHEP", "SIGReg", "SlicedCramerVonMises", "SlicedAndersonDarling", "SlicedWasserstein"}

# They read directions from the origin, as their papers do, and a shift turns those.
NOT_CENTRED = {"CodingRate", "MMCR", *OF_DIRECTIONS, *AGAINST_A_NORMAL}

# They have functions of their own, over pairs of dimensions or of the logarithm of the normal distribution, for whose
# parts torch.func has no rule.
NOT_TRANSFORMED = {"HSIC", "DistanceCorrelation", "SlicedAndersonDarling"}

# A branch always agrees with itself, so that one is refused.
NEEDS_TWO_BRANCHES = {"WhitenedDistance"}


def on_branches(without=()):
    """Each regularizer, but for the names of `without`, on one branch and on two."""
    kinds = [kind for kind in KINDS if kind.id not in without]
    counts = {kind.id: [2] if kind.id in NEEDS_TWO_BRANCHES else [1, 2] for kind in kinds}
    cases = [pytest.param(*kind.values, n, id=f"{kind.id}-{n}") for kind in kinds for n in counts[kind.id]]
    return pytest.mark.parametrize(("kind", "branches"), cases)


def correlated(n, d, seed=0):
    """Codes with different spreads, dependent features and a mean that is not zero."""
    return normal(n, d, seed=seed) @ normal(d, d, seed=seed + 1) + normal(d, seed=seed + 2)


def views(n, d, branches=2, seed=0):
    return [correlated(n, d, seed) + 0.3 * normal(n, d, seed=seed + 9 + i) for i in range(branches)]


def whitened(n=32, d=4):
    """Codes of mean zero whose features have variance 1 and no covariance, to rounding."""
    orthogonal, _ = torch.linalg.qr(normal(n, d) - normal(n, d).mean(0))
    return orthogonal * (n - 1) ** 0.5


def value_of(kind, *codes):
    """Its value on one draw: what a regularizer draws at random, such as directions, is the same on every call."""
    torch.manual_seed(0)
    return kind()(*codes)


@on_branches()
@given(shape=shapes, seed=seeds)
def test_a_regularizer_is_one_number_that_is_never_negative(kind, branches, shape, seed):
    value = value_of(kind, *views(*shape, branches, seed))
    assert value.shape == ()
    assert value.isfinite()
    assert value >= 0 or kind.__name__ in OF_DIRECTIONS


@on_branches()
@given(shape=shapes, seed=seeds)
def test_the_order_of_the_batch_is_nothing_to_a_regularizer(kind, branches, shape, seed):
    codes = views(*shape, branches, seed)
    order = torch.randperm(shape[0], generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(value_of(kind, *(h[order] for h in codes)), value_of(kind, *codes), **ROUNDING)


@on_branches(without=NOT_CENTRED)
@given(shape=shapes, seed=seeds)
def test_a_shift_of_all_codes_is_nothing_to_a_regularizer(kind, branches, shape, seed):
    codes = views(*shape, branches, seed)
    shifted = [h + 10 * normal(shape[1], seed=seed + i) for i, h in enumerate(codes)]
    torch.testing.assert_close(value_of(kind, *shifted), value_of(kind, *codes), **ROUNDING)


@regularizers
@given(shape=shapes, seed=seeds)
def test_the_two_branches_count_alike(kind, shape, seed):
    a, b = views(*shape, 2, seed)
    torch.testing.assert_close(value_of(kind, a, b), value_of(kind, b, a), **ROUNDING)


@on_branches(without=NOT_TRANSFORMED)
@pytest.mark.parametrize("shape", [(12, 5), (5, 12)])
def test_one_call_over_many_codes_gives_the_value_and_the_gradient_of_each(kind, branches, shape):
    many = [torch.stack(h) for h in zip(*(views(*shape, branches, seed) for seed in (0, 20, 40)), strict=True)]

    torch.manual_seed(0)
    # Of a sum over the stack, since vmap goes with derivatives from outside as it does in `Vectorized`.
    leaves = [h.requires_grad_() for h in many]
    values = vmap(kind(), randomness="same")(*leaves)
    gradients = torch.autograd.grad(values.sum(), leaves)
    for i in range(3):
        expected, slopes = value_and_gradients(kind, [h[i] for h in many])
        torch.testing.assert_close(values[i], expected, **ROUNDING)
        for gradient, slope in zip(gradients, slopes, strict=True):
            torch.testing.assert_close(gradient[i], slope, **ROUNDING)


@on_branches(without=BLIND_TO_SHRINKING)
@pytest.mark.parametrize("scale", [0.0, 0.01, 0.5])
def test_codes_that_shrank_are_worse_than_whitened_ones(kind, branches, scale):
    good = [whitened()] * branches
    assert value_of(kind, *(scale * h for h in good)) > value_of(kind, *good)


@on_branches(without=BLIND_TO_REPETITION)
def test_features_that_repeat_one_another_are_worse_than_whitened_ones(kind, branches):
    good = [whitened()] * branches
    assert value_of(kind, *(h[:, :1].expand_as(h) for h in good)) > value_of(kind, *good)


@on_branches()
@pytest.mark.parametrize("shape", [(4, 6), (9, 3)], ids=["few", "many"])
def test_the_gradient_of_a_regularizer_is_that_of_finite_differences(kind, branches, shape):
    codes = [(h / 4).requires_grad_() for h in views(*shape, branches)]  # of a spread that every hinge notices
    assert torch.autograd.grad(value_of(kind, *codes), codes)[0].abs().max() > 1e-4
    assert gradcheck(partial(value_of, kind), codes)


@on_branches()
def test_codes_collapsed_to_a_point_have_a_finite_gradient(kind, branches):
    codes = [torch.ones(8, 4, requires_grad=True) for _ in range(branches)]
    value = value_of(kind, *codes)
    value.backward()
    assert value.isfinite()
    assert all(h.grad.isfinite().all() for h in codes)


def value_and_gradients(kind, codes):
    codes = [h.detach().clone().requires_grad_() for h in codes]
    value = value_of(kind, *codes)
    return value.detach(), torch.autograd.grad(value, codes)


@on_branches()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("std", [1, 4, 20])
@pytest.mark.parametrize("shape", [(400, 16), (48, 64)], ids=["many", "few"])
def test_half_precision_codes_cost_what_they_do_in_double(kind, branches, dtype, std, shape):
    # 400 codes of standard deviation 20 have second moments of 160 000, above the 65 504 that float16 holds.
    codes = [(std * h / shape[1] ** 0.5).to(dtype) for h in views(*shape, branches)]
    value, slopes = value_and_gradients(kind, codes)
    exact, exacts = value_and_gradients(kind, [h.double() for h in codes])
    torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=1e-4)
    for slope, reference in zip(slopes, exacts, strict=True):
        assert slope.dtype == dtype
        # The slope of a code has its dtype; so rounded is the exact one too. And float16 has nothing below 6e-8.
        error = (slope.double() - reference.to(dtype).double()).norm()
        assert error <= 1e-3 * reference.norm() + 6e-8 * slope.numel() ** 0.5


# torch 2.13 warns of what its own tracing of an autograd Function does.
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@on_branches()
@pytest.mark.parametrize("shape", [(6, 14), (14, 6)], ids=["few", "many"])
def test_a_regularizer_compiles_whole_with_its_derivative(kind, branches, shape):
    torch.compiler.reset()  # each counts as a recompilation of `forward` else, of which so many are allowed
    compiled = torch.compile(kind(), fullgraph=True, backend="aot_eager")
    codes = [h / 3 for h in views(*shape, branches)]
    expected = value_and_gradients(kind, codes)
    # The same operations, some of them in another order.
    torch.testing.assert_close(value_and_gradients(lambda: compiled, codes), expected, rtol=1e-9, atol=1e-12)


@regularizers
def test_autocast_does_not_reach_the_moments(kind):
    codes = [3 * h.float() for h in views(64, 16)]
    with torch.autocast("cpu", torch.bfloat16):
        value = value_of(kind, *codes)
    assert value.dtype == torch.float32
    # A product in bfloat16 would be off by 4e-3; single precision by 1e-7, times the 64 terms of a sum at worst.
    torch.testing.assert_close(value, value_of(kind, *codes), rtol=1e-5, atol=1e-5)


@on_branches()
def test_a_batch_of_one_is_refused_by_its_size(kind, branches):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs at least 2 samples.* a batch of 1:"):
        value_of(kind, *views(1, 4, branches))


@regularizers
@pytest.mark.parametrize("shape", [(8,), (8, 3, 3)], ids=str)
def test_codes_that_are_not_rows_of_features_are_refused_by_their_shape(kind, shape):
    with pytest.raises(ValueError, match=r"\(batch, features\), got \(8"):
        value_of(kind, normal(*shape), normal(*shape))


@regularizers
def test_a_regularizer_leaves_the_codes_as_they_are(kind):
    codes = views(8, 4)
    before = [h.clone() for h in codes]
    value_of(kind, *codes)
    assert all(torch.equal(h, old) for h, old in zip(codes, before, strict=True))
