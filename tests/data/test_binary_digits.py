import pytest
import torch

from ebm.data import BinaryDigits, Digits


@pytest.mark.parametrize("split", ["train", "test"])
def test_they_are_the_digits_rounded_in_rows(split):
    rows, labels = BinaryDigits().load(split)[:]
    images, answers = Digits().load(split)[:]
    assert torch.equal(rows.view_as(images), (images >= 0.5).float())
    assert torch.equal(labels, answers)
    assert 0.2 < rows.mean() < 0.5  # ink on paper
