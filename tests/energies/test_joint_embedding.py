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


def test_two_kinds_of_input_have_an_encoder_each_and_one_projector_or_two():
    encoder, encoder_y, projector, projector_y = (MLP(w).double() for w in ([8, 6], [5, 6], [6, 4], [6, 4]))
    x, y = normal(7, 8), normal(7, 5, seed=1)
    one = JointEmbedding(encoder, projector, encoder_y=encoder_y)
    assert torch.equal(one(x, y), SquaredDistance()(projector(encoder(x)), projector(encoder_y(y))))
    two = JointEmbedding(encoder, projector, encoder_y=encoder_y, projector_y=projector_y)
    assert torch.equal(two(x, y), SquaredDistance()(projector(encoder(x)), projector_y(encoder_y(y))))
    assert torch.equal(two.represent(x), encoder(x))


def test_a_projector_that_is_an_empty_sequence_is_taken_as_given():
    empty = nn.Sequential()
    energy = JointEmbedding(MLP([8, 6]), MLP([6, 4]), encoder_y=nn.Sequential(nn.Linear(8, 6)), projector_y=empty)
    assert energy.encode(torch.zeros(2, 8), torch.zeros(2, 8))[1].shape == (2, 6)


def test_one_encoder_for_both_is_saved_once():
    assert len(JointEmbedding.small().state_dict()) == 6
    late = JointEmbedding(MLP([8, 16, 6]), MLP([6, 4]), encoder_y=MLP([5, 6]))
    assert len(late.state_dict()) == 8
