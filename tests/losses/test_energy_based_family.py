"""The losses of the tutorial of 2006: each against its formula, written out, and the identities between them."""

import math

import numpy as np
import pytest
import torch
from conftest import Table, normal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy

from ebm import Energy, FreeEnergy
from ebm.losses import (
    LVQ2,
    FromBatch,
    Given,
    Hinge,
    InfoNCE,
    LogLoss,
    MarginContrastive,
    MinimumClassificationError,
    MinimumEmpiricalError,
    MostOffending,
    NegativeLogLikelihood,
    Perceptron,
    Sampled,
    SquareExponential,
    SquareSquare,
)

seeds = st.integers(0, 2**16)


def logistic(gap):
    return 1 / (1 + math.exp(-gap))


def on_worst(value, pull, push):
    """A loss of the right answer's energy and that of the worst of the wrong ones, with its slopes in all."""

    def row(right, wrong):
        worst = int(np.argmin(wrong))
        pushes = np.zeros(len(wrong))
        pushes[worst] = push(right, wrong[worst])
        return value(right, wrong[worst]), pull(right, wrong[worst]), pushes

    return row


def of_gap(value, slope):
    """A loss of the difference to the worst of the wrong answers."""
    return on_worst(lambda e, w: value(e - w), lambda e, w: slope(e - w), lambda e, w: -slope(e - w))


def shares(right, wrong, beta):
    weights = np.exp(-beta * np.array([right, *wrong]))
    return weights / weights.sum()


def likelihood(beta):
    def row(right, wrong):
        p = shares(right, wrong, beta)
        return -math.log(p[0]) / beta, 1 - p[0], -p[1:]

    return row


def empirical(beta):
    def row(right, wrong):
        p = shares(right, wrong, beta)
        return 1 - p[0], beta * p[0] * (1 - p[0]), -beta * p[0] * p[1:]

    return row


# Each loss with its formula for one sample: the value, and its slopes in the energies of right and wrong answers.
FAMILY = {
    "perceptron": (Perceptron, {}, of_gap(lambda g: max(0, g), lambda g: float(g > 0))),
    "hinge": (Hinge, {"margin": 0.7}, of_gap(lambda g: max(0, 0.7 + g), lambda g: float(0.7 + g > 0))),
    "log": (LogLoss, {}, of_gap(lambda g: math.log(1 + math.exp(g)), logistic)),
    "LVQ2": (LVQ2, {"ceiling": 2.0}, of_gap(lambda g: min(2, max(0, g)), lambda g: float(0 < g < 2))),
    "MCE": (MinimumClassificationError, {}, of_gap(logistic, lambda g: logistic(g) * (1 - logistic(g)))),
    "square-square": (
        SquareSquare,
        {"margin": 1.5},
        on_worst(lambda e, w: e**2 + max(0, 1.5 - w) ** 2, lambda e, w: 2 * e, lambda e, w: -2 * max(0, 1.5 - w)),
    ),
    "square-exponential": (
        SquareExponential,
        {"push": 2.5},
        on_worst(lambda e, w: e**2 + 2.5 * math.exp(-w), lambda e, w: 2 * e, lambda e, w: -2.5 * math.exp(-w)),
    ),
    "NLL": (NegativeLogLikelihood, {"beta": 1.7}, likelihood(1.7)),
    "MEE": (MinimumEmpiricalError, {"beta": 0.8}, empirical(0.8)),
}
NEGATIVES = {
    "the batch": FromBatch(),
    "a list": Given(normal(7, 2, seed=9)),
    "samples": Sampled(steps=5, count=3),
    "the most offending": MostOffending(0.4, starts=4),
}


class Bowl(Energy):
    """`scale |y - 0.8 x|^2`."""

    def __init__(self, scale=0.9):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale, dtype=torch.float64))

    def cost(self, hx, hy, z=None):
        return self.scale * (hy - 0.8 * hx).square().sum(-1)


def bowl(x, y):
    return 0.9 * ((np.asarray(y) - 0.8 * np.asarray(x)) ** 2).sum()


def wrong_of(negatives, F, hx, hy):
    """The wrong answers of each sample, in a list."""
    if isinstance(negatives, FromBatch):
        return [[hy[j] for j in range(len(hy)) if j != i] for i in range(len(hy))]
    if isinstance(negatives, Given):
        return [[y for y in negatives.candidates if not torch.equal(y, own)] for own in hy]
    answers = negatives.answers(F, hx, hy)
    return [[y] for y in answers[0]] if isinstance(negatives, MostOffending) else answers.transpose(0, 1)


@pytest.mark.parametrize("source", NEGATIVES)
@pytest.mark.parametrize("name", FAMILY)
def test_value_and_gradient_are_those_of_the_formula(name, source):
    kind, arguments, formula = FAMILY[name]
    negatives = NEGATIVES[source]
    F = FreeEnergy(Bowl())
    hx = normal(6, 2)
    hy = negatives.candidates[:6] if source == "a list" else normal(6, 2, seed=1)
    torch.manual_seed(3)
    answers = wrong_of(negatives, F, hx, hy)
    values, slopes = [], []
    for x, y, wrong in zip(hx, hy, answers, strict=True):
        right, others = bowl(x, y), np.array([bowl(x, other) for other in wrong])
        value, pull, pushes = formula(right, others)
        values.append(value)
        slopes.append((pull * right + (pushes * others).sum()) / 0.9)  # every energy is in proportion to the scale
    torch.manual_seed(3)
    found = kind(**arguments, negatives=negatives)(F, hx, hy)
    (slope,) = torch.autograd.grad(found, F.energy.scale)
    assert found.item() == pytest.approx(np.mean(values), rel=1e-9, abs=1e-12)
    assert slope.item() == pytest.approx(np.mean(slopes), rel=1e-9, abs=1e-12)
    assert np.any(slopes)


class Row(Energy):
    """The energies of as many answers as it has; y is the number of one."""

    def __init__(self, energies):
        super().__init__()
        self.energies = nn.Parameter(torch.as_tensor(energies, dtype=torch.float64))

    def cost(self, hx, hy, z=None):
        return self.energies[hy]


def on_row(loss, energies):
    """The loss and its slopes where the first answer is right, and all others are wrong."""
    row = Row(energies)
    loss.negatives = Given(torch.arange(len(row.energies)))
    value = loss(FreeEnergy(row), None, torch.tensor([0]))
    return value.item(), torch.autograd.grad(value, row.energies)[0]


@pytest.mark.parametrize("beta", [0.3, 1.0, 10.0, 300.0])
@given(answers=st.integers(2, 9), seed=seeds)
def test_the_likelihood_is_the_perceptron_when_it_is_cold(beta, answers, seed):
    energies = normal(answers, seed=seed)
    cold, perceptron = on_row(NegativeLogLikelihood(beta), energies)[0], on_row(Perceptron(), energies)[0]
    assert perceptron - 1e-12 <= cold <= perceptron + math.log(answers) / beta + 1e-12


@given(beta=st.floats(0.1, 20), seed=seeds)
def test_the_likelihood_is_a_cross_entropy_and_info_nce_at_the_inverse_temperature(beta, seed):
    table = Table(normal(8, 8, seed=seed))
    F, (hx, hy) = FreeEnergy(table), table.codes()
    value = NegativeLogLikelihood(beta)(F, hx, hy)
    expected = cross_entropy(-beta * F.pairs(hx, hy), torch.arange(4)) / beta
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(value, InfoNCE(1 / beta)(F, hx, hy) / beta, rtol=1e-12, atol=1e-12)


@given(beta=st.floats(0.1, 20), answers=st.integers(2, 9), seed=seeds)
def test_the_empirical_error_is_one_less_the_likelihood_of_the_right_answer(beta, answers, seed):
    energies = normal(answers, seed=seed)
    error = on_row(MinimumEmpiricalError(beta), energies)[0]
    surprise = beta * on_row(NegativeLogLikelihood(beta), energies)[0]
    assert error == pytest.approx(1 - math.exp(-surprise), rel=1e-9, abs=1e-12)


@given(right=st.floats(-30, 30), wrong=st.floats(-30, 30))
def test_with_one_wrong_answer_the_log_loss_is_the_likelihood_and_the_two_errors_are_one(right, wrong):
    pair = [right, wrong]
    assert on_row(LogLoss(), pair)[0] == pytest.approx(on_row(NegativeLogLikelihood(), pair)[0], rel=1e-9, abs=1e-14)
    errors = on_row(MinimumClassificationError(), pair)[0], on_row(MinimumEmpiricalError(), pair)[0]
    assert errors[0] == pytest.approx(errors[1], rel=1e-9, abs=1e-14)


@given(right=st.floats(-3, 3), wrong=st.floats(-3, 3), ceiling=st.floats(0.1, 2))
def test_lvq2_is_the_perceptron_up_to_a_ceiling_and_has_no_slope_elsewhere(right, wrong, ceiling):
    value, slope = on_row(LVQ2(ceiling), [right, wrong])
    assert value == pytest.approx(min(ceiling, on_row(Perceptron(), [right, wrong])[0]), abs=1e-15)
    inside, outside = 0 < right - wrong < ceiling, right < wrong or right - wrong > ceiling
    assert not inside or slope.tolist() == [1, -1]
    assert not outside or slope.tolist() == [0, 0]


@given(answers=st.integers(2, 9), seed=seeds)
def test_the_hinge_without_margin_is_the_perceptron_and_the_log_loss_is_its_soft_form(answers, seed):
    energies = normal(answers, seed=seed)
    perceptron, soft = on_row(Perceptron(), energies)[0], on_row(LogLoss(), energies)[0]
    assert on_row(Hinge(0.0), energies)[0] == perceptron
    assert perceptron <= soft <= perceptron + math.log(2)


@given(seed=seeds)
def test_square_square_of_two_samples_is_twice_the_margin_loss(seed):
    table = Table(normal(4, 4, seed=seed))
    values = [loss(FreeEnergy(table), *table.codes()) for loss in (SquareSquare(1.3), MarginContrastive(1.3))]
    torch.testing.assert_close(values[0], 2 * values[1], rtol=1e-12, atol=1e-14)


def test_the_classification_error_counts_errors_where_energies_are_far_apart():
    table = Table(100 * normal(12, 12))
    pairs = FreeEnergy(table).pairs(*table.codes()).detach()
    wrong = pairs.masked_fill(torch.eye(6, dtype=torch.bool), math.inf).amin(1)
    assert (pairs.diagonal() - wrong).abs().min() > 7
    errors = (pairs.diagonal() > wrong).double().mean().item()
    # A logistic function of 7 is 1, but for 0.001.
    assert MinimumClassificationError()(FreeEnergy(table), *table.codes()).item() == pytest.approx(errors, abs=1e-3)


@given(scale=st.floats(0, 1), others=st.integers(1, 5))
def test_an_energy_that_is_the_same_everywhere_satisfies_those_without_margin_alone(scale, others):
    flat = [scale] * (1 + others)
    for loss in (Perceptron(), LVQ2()):
        value, slope = on_row(loss, flat)
        assert value == 0
        assert not slope.any()
    for loss in (Hinge(), LogLoss(), MinimumClassificationError(), NegativeLogLikelihood(), MinimumEmpiricalError()):
        slope = on_row(loss, flat)[1]
        assert slope[0] > 0.1
        assert slope[1:].sum().item() == pytest.approx(-slope[0].item())  # among those that tie
    for loss in (SquareSquare(1.1), SquareExponential()):
        assert on_row(loss, flat)[1].any()


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("right", [-1e4, 0.0, 1e4])
def test_a_sample_without_a_wrong_answer_is_no_error_and_has_finite_slopes(name, right):
    kind, arguments, _ = FAMILY[name]
    value, slope = on_row(kind(**arguments), [right, math.inf])
    square = right**2 if name.startswith("square") else 0
    assert value == square
    assert slope.tolist() == [2 * right if square else 0, 0]


@pytest.mark.parametrize("name", ["log", "MCE", "NLL", "MEE", "perceptron", "hinge", "LVQ2"])
@pytest.mark.parametrize("gap", [-1e4, 1e4])
def test_energies_far_beyond_what_an_exponential_holds_are_finite(name, gap):
    kind, arguments, _ = FAMILY[name]
    value, slope = on_row(kind(**arguments), [gap, 0.0])
    assert math.isfinite(value)
    assert slope.isfinite().all()
