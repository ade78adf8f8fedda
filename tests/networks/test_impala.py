"""The encoder of IMPALA: its size is the published one, and it refuses what it was not made for."""

import pytest
import torch

from ebm.networks import Impala


def test_the_parameters_are_those_of_the_published_stacks() -> None:
    # Each stack: a convolution in, four within, 3 x 3 with biases; 65 pixels are 9 after three halvings.
    stacks = sum(9 * into * out + out + 4 * (9 * out * out + out) for into, out in ((2, 16), (16, 32), (32, 32)))
    head = 32 * 9 * 9 * 512 + 512
    assert sum(parameter.numel() for parameter in Impala().parameters()) == stacks + head + 2 * 512


def test_codes_have_mean_zero_and_variance_one() -> None:
    codes = Impala(channels=3, size=9, features=32, stacks=(4, 4))(torch.rand(5, 3, 9, 9))
    assert codes.shape == (5, 32)
    torch.testing.assert_close(codes.mean(1), torch.zeros(5), atol=1e-5, rtol=0)  # float32 sums of 32
    torch.testing.assert_close(codes.var(1, correction=0), torch.ones(5), atol=1e-2, rtol=0)  # LayerNorm's epsilon


def test_other_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="9, 9"):
        Impala(channels=3, size=9, features=4, stacks=(4,))(torch.rand(5, 3, 8, 8))
