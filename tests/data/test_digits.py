from collections import Counter

import pytest
import torch
from sklearn.datasets import load_digits

from ebm.data import Digits


def part(split, **settings):
    rows = Digits(**settings).load(split)
    return rows[range(len(rows))]


def pictures(images):
    return Counter(image.numpy().tobytes() for image in images)


def test_the_two_parts_are_all_1797_digits_each_once():
    train, test = pictures(part("train")[0]), pictures(part("test")[0])
    every = pictures(torch.tensor(load_digits().images).float().div(16).unsqueeze(1))
    assert train.total() + test.total() == 1797
    assert train + test == every
    assert not train & test


def test_each_image_has_the_label_it_came_with():
    bunch = load_digits()
    keys = [(image / 16).astype("float32").tobytes() for image in bunch.images]
    known = dict(zip(keys, bunch.target.tolist(), strict=True))
    images, labels = part("test")
    assert [known[image.numpy().tobytes()] for image in images] == labels.tolist()


def test_images_are_one_channel_of_8_by_8_between_zero_and_one():
    images, labels = part("train")
    assert images.shape[1:] == (1, 8, 8)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.long
    assert (images.min(), images.max()) == (0, 1)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_part_is_the_same_at_each_call_and_another_for_another_seed(split):
    torch.testing.assert_close(part(split), part(split), rtol=0, atol=0)
    assert pictures(part(split)[0]) != pictures(part(split, seed=1)[0])


@pytest.mark.parametrize("held_out", [0.25, 0.5])
def test_the_held_out_share_is_taken_of_each_class(held_out):
    _, labels = part("test", held_out=held_out)
    expected = held_out * torch.from_numpy(load_digits().target).bincount()
    assert len(labels) == pytest.approx(held_out * 1797, abs=1)
    assert (labels.bincount() - expected).abs().max() <= 1


def test_loading_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    part("train")
    assert before.equal(torch.get_rng_state())
