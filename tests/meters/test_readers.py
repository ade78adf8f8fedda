"""The readers in closed form, by descent and of few labels, and the parts that they are fitted to."""

import math

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import sem, t
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifierCV
from sklearn.neighbors import KNeighborsClassifier

from ebm.data import Digits
from ebm.meters import few_shot_probe, knn_probe, ridge_probe, sgd_probe, split
from ebm.meters.ridge import PENALTIES, fitted


def digits(shares=(0.6, 0.2, 0.2)):
    images, labels = Digits().load("train")[:]
    return split((images.flatten(1).double(), labels), shares)


def clusters(n=200, features=5, classes=4, noise=0.3, seed=0):
    labels = torch.arange(n) % classes
    centres = normal(classes, features, seed=seed + 7)
    return centres[labels] + noise * normal(n, features, seed=seed), labels


probes = pytest.mark.parametrize("probe", [ridge_probe, sgd_probe, lambda *parts: few_shot_probe(*parts).mean])


@probes
def test_classes_that_are_far_apart_are_read_without_error(probe):
    train, _, test = split(clusters(noise=0.01))
    assert probe(train, test) == 1


@probes
def test_a_code_of_zeros_is_read_at_chance(probe):
    (features, labels), _, (held_out, answers) = split(clusters())
    assert probe((0 * features, labels), (0 * held_out, answers)) == 0.25


@probes
@pytest.mark.parametrize("scale", [2.0**-60, 2.0**40])
def test_one_scale_for_all_features_changes_nothing(probe, scale):
    (features, labels), _, (held_out, answers) = digits()
    assert probe((scale * features, labels), (scale * held_out, answers)) == probe(
        (features, labels), (held_out, answers)
    )


@probes
def test_labels_need_not_be_counted_from_zero(probe):
    (features, labels), _, (held_out, answers) = split(clusters())
    assert probe((features, 3 * labels - 5), (held_out, 3 * answers - 5)) == probe(
        (features, labels), (held_out, answers)
    )


@probes
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codes_of_less_precision_are_read(probe, dtype):
    train, _, test = split(clusters())
    assert probe((train[0].to(dtype), train[1]), (test[0].to(dtype), test[1])) > 0.9


@given(rows=st.integers(4, 30), features=st.integers(1, 40), seed=st.integers(0, 2**16))
def test_the_ridge_is_that_of_scikit_learn_wide_or_narrow(rows, features, seed):
    x, y = normal(rows, features, seed=seed) + 2, normal(rows, 3, seed=seed + 1)
    weights, offset = fitted(x, y, [0.1])
    expected = Ridge(alpha=0.1 * rows, solver="svd").fit(x.numpy(), y.numpy())
    # Products with the Gram matrix square its condition, of at most about 1e3 under this penalty.
    np.testing.assert_allclose(weights.numpy(), expected.coef_.T, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(offset.numpy(), expected.intercept_, rtol=1e-9, atol=1e-10)


@given(rows=st.integers(6, 20), features=st.integers(1, 30), seed=st.integers(0, 2**16))
def test_the_penalty_is_that_which_foretells_each_row_from_all_others_best(rows, features, seed):
    x, y = normal(rows, features, seed=seed) + 1, normal(rows, 2, seed=seed + 1)
    y = y + x[:, :1]
    penalties = [1e-3, 1e-1, 10.0]

    def error(penalty):
        left = []
        for i in range(rows):
            others = np.arange(rows) != i
            # The sum over rows, of which one is missing, weighs against the penalty of all of them.
            model = Ridge(alpha=penalty * rows, solver="svd").fit(x[others].numpy(), y[others].numpy())
            left.append(np.square(model.predict(x[i : i + 1].numpy()) - y[i].numpy()).mean())
        return np.mean(left)

    best = min(penalties, key=error)
    torch.testing.assert_close(fitted(x, y, penalties)[0], fitted(x, y, [best])[0])


def test_the_ridge_probe_is_the_classifier_of_scikit_learn():
    train, _, test = digits()
    scale = train[0].square().mean().sqrt()
    reference = RidgeClassifierCV([p * len(train[0]) for p in PENALTIES]).fit(
        (train[0] / scale).numpy(), train[1].numpy()
    )
    assert ridge_probe(train, test) == reference.score((test[0] / scale).numpy(), test[1].numpy())
    assert ridge_probe(train, test) > 0.9


def test_a_validation_part_chooses_the_penalty_and_nothing_else():
    x, y = normal(30, 20), normal(30, 2, seed=1)
    y = y + x[:, :2]
    held_out = normal(40, 20, seed=2), normal(40, 2, seed=3)
    errors = {}
    for penalty in PENALTIES:
        weights, offset = fitted(x, y, [penalty])
        errors[penalty] = float((held_out[0] @ weights + offset - held_out[1]).square().mean())
    best = min(PENALTIES, key=errors.__getitem__)
    assert torch.equal(fitted(x, y, PENALTIES, held_out)[0], fitted(x, y, [best])[0])
    train, validation, test = digits()
    assert ridge_probe(train, test, validation) > 0.9


def test_no_reader_looks_at_the_answers():
    train, validation, (held_out, answers) = split(clusters())
    wrong = (answers + 1) % 4
    for probe in (ridge_probe, sgd_probe, knn_probe, lambda *parts: few_shot_probe(*parts).mean):
        assert probe(train, (held_out, answers)) == 1
        assert probe(train, (held_out, wrong)) == 0
    assert ridge_probe(train, (held_out, wrong), validation) == 0


def test_descent_comes_near_the_accuracy_of_the_minimum():
    train, _, test = digits()
    scale = train[0].square().mean().sqrt()
    minimum = LogisticRegression(max_iter=1000).fit((train[0] / scale).numpy(), train[1].numpy())
    accuracy = minimum.score((test[0] / scale).numpy(), test[1].numpy())
    # Two images in a hundred: twenty passes do not reach the minimum.
    assert sgd_probe(train, test) == pytest.approx(accuracy, abs=0.02)


def test_descent_is_the_same_at_each_call_and_another_for_another_seed():
    train, _, test = split(clusters(noise=1.5))
    before = torch.get_rng_state()
    first = [sgd_probe(train, test, epochs=1, batch_size=8, seed=seed) for seed in range(6)]
    assert first == [sgd_probe(train, test, epochs=1, batch_size=8, seed=seed) for seed in range(6)]
    assert len(set(first)) > 1
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"rate": 0.0}, {"rate": math.inf}])
def test_descent_without_a_step_is_refused(settings):
    train, _, test = split(clusters())
    with pytest.raises(ValueError, match="positive rate"):
        sgd_probe(train, test, **settings)


def test_the_neighbours_are_those_of_scikit_learn():
    train, _, test = digits()
    for neighbors in (1, 5, 20):
        reference = KNeighborsClassifier(neighbors).fit(train[0].numpy(), train[1].numpy())
        assert knn_probe(train, test, neighbors) == reference.score(test[0].numpy(), test[1].numpy())


def test_few_labels_give_a_mean_and_an_interval_over_draws():
    train, _, test = digits()
    found = few_shot_probe(train, test, shots=2, draws=6)
    single = [few_shot_probe(train, test, shots=2, draws=6).mean, found.mean]
    assert single[0] == single[1]
    assert 0.3 < found.mean < ridge_probe(train, test)
    more = few_shot_probe(train, test, shots=20, draws=6)
    assert more.mean > found.mean + found.half
    assert more.half < found.half


def test_the_interval_is_that_of_student():
    # With two classes on a line, the draws of one label each decide alone: read them one by one.
    features, labels = torch.tensor([[0.0], [3.0], [2.0], [8.0]]).double(), torch.tensor([0, 0, 1, 1])
    test = torch.tensor([[1.0], [4.0], [5.5]]).double(), torch.tensor([0, 1, 1])
    accuracies = set()
    for low in (0.0, 3.0):
        for high in (2.0, 8.0):
            sides = [float((x - (low + high) / 2) * (high - low) > 0) for x in (1.0, 4.0, 5.5)]
            accuracies.add(sum(side == answer for side, answer in zip(sides, (0, 1, 1), strict=True)) / 3)
    found = few_shot_probe((features, labels), test, shots=1, draws=2)
    lowest, highest = found.mean - found.half / 12.706, found.mean + found.half / 12.706
    # Of two draws the half interval is t times half their difference.
    assert t.ppf(0.975, 1) == pytest.approx(12.706, rel=1e-4)
    assert sem([lowest, highest]) == pytest.approx(found.half / 12.706, abs=1e-9)
    assert all(min(abs(value - one) for one in accuracies) < 1e-4 for value in (lowest, highest))


@pytest.mark.parametrize("settings", [{"shots": 0}, {"shots": 51}, {"draws": 1}])
def test_more_labels_than_a_class_has_are_refused(settings):
    data = clusters()
    with pytest.raises(ValueError, match="1 to 50 labels of each class"):
        few_shot_probe(data, data, **settings)


@given(seed=st.integers(0, 2**16), classes=st.integers(1, 5), n=st.integers(1, 80))
def test_the_parts_share_no_row_and_leave_none_out_and_each_class_is_parted_alike(seed, classes, n):
    labels = torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
    rows = torch.arange(n).unsqueeze(1)
    parts = split((rows, labels), seed=seed)
    assert sorted(torch.cat([features for features, _ in parts])[:, 0].tolist()) == list(range(n))
    for (features, answers), share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert torch.equal(labels[features[:, 0]], answers)
        assert features[:, 0].tolist() == sorted(features[:, 0].tolist())
        for label in labels.unique():
            # The ends of a part are each rounded to a whole sample.
            assert abs(int((answers == label).sum()) - share * int((labels == label).sum())) <= 1


def test_a_split_is_the_same_at_each_call_and_another_for_another_seed():
    data = clusters()
    first, again, other = split(data), split(data), split(data, seed=1)
    assert torch.equal(first.test[0], again.test[0])
    assert not torch.equal(first.test[0], other.test[0])


def test_each_sample_is_as_likely_in_each_part():
    data = torch.arange(10).unsqueeze(1), torch.zeros(10, dtype=torch.long)
    counts = torch.zeros(10)
    for seed in range(400):
        counts[split(data, seed=seed).test[0][:, 0]] += 1
    # Two in ten of 400 are 80, with a deviation of 8: five of those.
    assert (counts - 80).abs().max() < 40


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.5, 0.5, 0.5), (1.5, -0.5, 0.0)])
def test_shares_that_are_none_are_refused(shares):
    with pytest.raises(ValueError, match="add up to 1"):
        split(clusters(), shares)


def test_rows_without_a_label_are_refused():
    features, labels = clusters()
    with pytest.raises(ValueError, match="each row has one label"):
        split((features, labels[:-1]))
