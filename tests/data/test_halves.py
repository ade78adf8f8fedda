import pytest
import torch

from ebm.data import BinaryDigits, Digits, Halves


def test_the_halves_of_an_image_are_above_and_below_and_make_it_up_again():
    data = Halves(Digits())
    images = Digits().load("test")[range(5)][0]
    upper, lower = data.pairs(images)
    assert upper.shape == lower.shape == (5, 1, 4, 8)
    assert torch.equal(torch.cat([upper, lower], -2), images)


def test_rows_that_are_no_images_are_refused():
    with pytest.raises(ValueError, match="finite images"):
        Halves(BinaryDigits()).setup("fit")


@pytest.mark.parametrize(
    "rows", [torch.zeros(2, 1, 5, 4), torch.full((2, 1, 4, 4), torch.nan), torch.zeros(2, 1, 4, 4).long()]
)
def test_images_of_odd_height_or_without_numbers_are_refused(rows):
    with pytest.raises(ValueError, match="even height"):
        Halves(Digits()).check(rows)
