import torch
from conftest import normal
from torch import nn

from ebm.distances import EuclideanDistance
from ebm.energies import Autoencoder
from ebm.networks import MLP, GaussianChannel


def test_it_is_the_distance_of_what_is_decoded_from_y():
    energy = Autoencoder(MLP([8, 4]), MLP([4, 8]), distance=EuclideanDistance()).double()
    x, y = normal(5, 8), normal(5, 8, seed=1)
    torch.testing.assert_close(energy(x, y), (energy.decoder(energy.encoder(x)) - y).norm(dim=-1))


def test_images_are_compared_pixel_by_pixel():
    decoder = nn.Sequential(MLP([4, 9]), nn.Unflatten(1, (1, 3, 3)))
    energy = Autoencoder(MLP([9, 4]), decoder).double()
    x, y = normal(5, 1, 3, 3), normal(5, 1, 3, 3, seed=1)
    expected = (decoder(energy.encoder(x)) - y).square().flatten(1).mean(1)
    torch.testing.assert_close(energy(x, y), expected)


def test_a_channel_makes_energies_noisy_in_training_and_never_the_representation():
    energy = Autoencoder(MLP([8, 4]), MLP([2, 8]), GaussianChannel()).double().train()
    x = normal(5, 8)
    assert not torch.equal(energy(x, x), energy(x, x))
    assert torch.equal(energy.represent(x), energy.encoder(x)[:, :2])
    assert energy.channel.training
    energy.eval()
    assert torch.equal(energy(x, x), energy(x, x))
