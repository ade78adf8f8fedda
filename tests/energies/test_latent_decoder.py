import pytest
import torch
from conftest import normal
from torch import nn

from ebm.energies import LatentDecoder


def test_it_is_the_squared_error_of_the_reconstruction_and_the_strength_of_the_latent():
    decoder = nn.Linear(3, 8).double()
    y, z = normal(5, 8), normal(5, 3, seed=1)
    energy = LatentDecoder(decoder, latent_features=3, strength=0.7)
    expected = [((y[i] - decoder(z[i])) ** 2).sum() + 0.7 * (z[i] ** 2).sum() for i in range(5)]
    # Sums of eight squares in two orders.
    torch.testing.assert_close(energy(y, y, z), torch.stack(expected), atol=1e-13, rtol=1e-13)


def test_by_default_a_latent_costs_nothing():
    decoder = nn.Linear(3, 8).double()
    y, z = normal(5, 8), normal(5, 3, seed=1)
    assert torch.equal(LatentDecoder(decoder, 3)(y, y, z), (y - decoder(z)).square().sum(-1))


def test_inference_starts_at_zero_with_the_dtype_of_y():
    start = LatentDecoder.small().latent(normal(5, 8), normal(2, 5, 8))
    assert torch.equal(start, torch.zeros(2, 5, 3, dtype=torch.float64))


def test_without_a_latent_it_says_where_one_comes_from():
    y = torch.zeros(5, 8)
    with pytest.raises(ValueError, match="needs z: call FreeEnergy, which infers it, or pass one"):
        LatentDecoder.small()(y, y)
