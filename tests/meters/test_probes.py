import pytest
import torch
from conftest import normal

from ebm.data import Digits
from ebm.meters import knn_probe, linear_probe

probes = pytest.mark.parametrize("probe", [linear_probe, knn_probe])


def clusters(per_class=25, noise=0.1, seed=0):
    """Ten classes around the corners of a cross: train and test."""
    labels = torch.arange(10).repeat(per_class)
    centres = torch.cat([torch.eye(5), -torch.eye(5)])
    parts = (centres[labels] + noise * normal(10 * per_class, 5, seed=seed + i) for i in (1, 2))
    return tuple((features, labels) for features in parts)


def digits(transform=lambda features: features):
    parts = (Digits().load(split)[range(count)] for split, count in (("train", 600), ("test", 300)))
    return tuple((transform(images.flatten(1).double()), labels) for images, labels in parts)


@probes
def test_classes_that_are_far_apart_are_read_without_error(probe):
    assert probe(*clusters()) == 1


@probes
def test_labels_that_say_nothing_are_read_at_chance(probe):
    (features, labels), test = clusters(per_class=100, noise=1.0)
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]
    # 1,000 guesses at 1 in 10 are right 100 times, give or take 9.5: five of those.
    assert probe((features, shuffled), test) == pytest.approx(0.1, abs=0.05)


@probes
@pytest.mark.parametrize("scale", [2.0**-40, 2.0**-10, 2.0**30])
def test_one_scale_for_all_features_changes_nothing(probe, scale):
    assert probe(*digits(lambda features: scale * features)) == probe(*digits())


@probes
def test_accuracy_is_that_on_the_images_it_was_not_fitted_to(probe):
    (features, labels), (held_out, answers) = clusters()
    wrong = (answers + 1) % 10
    assert probe((features, labels), (held_out, wrong)) == 0
    half = torch.cat([answers[:125], wrong[125:]])
    assert probe((features, labels), (held_out, half)) == 0.5


def test_a_code_that_has_shrunk_to_a_point_fools_the_neighbours_but_not_the_linear_probe():
    spread = digits(lambda features: features / features.std())
    shrunk = digits(lambda features: 10 + 1e-4 * features / features.std())
    assert linear_probe(*spread) > 0.9
    assert linear_probe(*shrunk) < 0.2
    assert knn_probe(*spread) > 0.9
    assert knn_probe(*shrunk) == knn_probe(*spread)


@pytest.mark.parametrize(("neighbors", "accuracy"), [(1, 1.0), (3, 0.0)])
def test_the_majority_of_the_nearest_neighbours_decides(neighbors, accuracy):
    # The nearest to 0.1 is 0, of class 0; of the nearest three, two are of class 1.
    train = torch.tensor([[0.0], [0.5], [-0.6], [9.0]]), torch.tensor([0, 1, 1, 0])
    assert knn_probe(train, (torch.tensor([[0.1]]), torch.tensor([0])), neighbors) == accuracy


def test_more_neighbours_than_there_are_images_are_all_of_them():
    train = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 1, 1])
    assert knn_probe(train, (torch.tensor([[0.0]]), torch.tensor([1])), neighbors=100) == 1


def test_a_stronger_penalty_hides_what_varies_little():
    assert linear_probe(*digits(), strength=1e-6) < linear_probe(*digits()) - 0.1


@probes
def test_a_code_of_zeros_is_read_at_chance_and_not_divided_by_zero(probe):
    (features, labels), (held_out, answers) = clusters()
    assert probe((0 * features, labels), (0 * held_out, answers)) == 0.1
