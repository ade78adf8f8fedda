import pytest
import torch

from ebm.data import Digits, Subset


def images(source, split):
    rows = source.load(split)
    return rows[list(range(len(rows)))][0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_it_holds_so_many_images_of_the_source_each_once(split):
    some, whole = images(Subset(Digits(), 50, 20), split), images(Digits(), split)
    assert len(some) == {"train": 50, "test": 20}[split]
    places = [(whole == image).flatten(1).all(1).nonzero()[0].item() for image in some]
    assert len(set(places)) == len(places)


def test_labels_stay_with_their_images():
    rows, whole = Subset(Digits(), 50, 20).load("train"), Digits().load("train")
    pictures, labels = rows[[3, 1]]
    all_pictures, all_labels = whole[list(range(len(whole)))]
    for picture, label in zip(pictures, labels, strict=True):
        assert label == all_labels[(all_pictures == picture).flatten(1).all(1)][0]


def test_it_is_the_same_at_each_call_and_its_parts_are_those_of_the_source():
    subset = Subset(Digits(), 50, 20)
    assert torch.equal(images(subset, "train"), images(subset, "train"))
    pairs = (images(subset, "train")[:, None] == images(subset, "test")[None]).flatten(2).all(-1)
    assert not pairs.any()


def test_more_than_there_are_is_refused_by_the_numbers():
    with pytest.raises(ValueError, match=r"Digits.* has \d+ images to test on, not the 9999 asked for"):
        Subset(Digits(), 50, 9999).load("test")


@pytest.mark.parametrize(("train", "test", "name"), [(0, 1, "train"), (1, 0, "test")])
def test_none_at_all_is_refused(train, test, name):
    with pytest.raises(ValueError, match=f"at least one image to {name} on, not 0"):
        Subset(Digits(), train, test)
