import torch
from conftest import normal
from torch import nn

from ebm.distances import CosineDistance, SquaredDistance
from ebm.energies import JointEmbedding
from ebm.networks import MLP


def test_it_is_the_distance_of_the_two_projected_codes():
    encoder, projector = MLP([8, 6]).double(), MLP([6, 4]).double()
    x, y = normal(5, 8), normal(5, 8, seed=1)
    energy = JointEmbedding(encoder, projector, CosineDistance())
    assert torch.equal(energy(x, y), CosineDistance()(projector(encoder(x)), projector(encoder(y))))


def test_by_default_it_is_the_mean_squared_error_of_the_codes():
    x, y = normal(5, 8), normal(5, 8, seed=1)
    assert torch.equal(JointEmbedding(nn.Identity())(x, y), (x - y).square().mean(-1))
    assert JointEmbedding(nn.Identity()).distance == SquaredDistance()


def test_what_is_kept_is_the_encoders_and_not_the_projectors():
    encoder = MLP([8, 6]).double()
    x = normal(5, 8)
    assert torch.equal(JointEmbedding(encoder, MLP([6, 4]).double()).represent(x), encoder(x))


def test_what_is_kept_of_a_feature_map_is_one_row():
    energy = JointEmbedding(nn.Conv2d(1, 2, 3), nn.Flatten())
    assert energy.represent(torch.zeros(5, 1, 4, 4)).shape == (5, 2 * 2 * 2)


def test_it_does_not_matter_which_side_is_x():
    energy = JointEmbedding.small().double()
    x, y = normal(5, 8), normal(5, 8, seed=1)
    assert torch.equal(energy(x, y), energy(y, x))


def test_equal_variables_have_no_energy():
    x = normal(5, 8)
    assert not JointEmbedding.small().double()(x, x).any()
