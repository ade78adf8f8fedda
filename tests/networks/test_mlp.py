import pytest
import torch
from conftest import normal
from torch import nn

from ebm.networks import MLP


def test_it_is_matrix_products_with_an_activation_between_them_and_none_at_the_end():
    network, x = MLP([8, 6, 5, 4]).double(), normal(7, 8)
    first, second, third = (layer for layer in network.layers if isinstance(layer, nn.Linear))
    hidden = (x @ first.weight.T + first.bias).clamp_min(0)
    hidden = (hidden @ second.weight.T + second.bias).clamp_min(0)
    # Sums of eight products in two orders.
    torch.testing.assert_close(network(x), hidden @ third.weight.T + third.bias, atol=1e-13, rtol=1e-13)


def test_two_widths_are_one_linear_layer():
    network, x = MLP([8, 4]).double(), normal(7, 8)
    assert torch.equal(network(x), network.layers[0](x))
    assert len(network.layers) == 1


def test_the_activation_is_an_argument():
    network, x = MLP([8, 6, 4], activation=nn.Tanh).double(), normal(7, 8)
    assert torch.equal(network(x), network.layers[2](network.layers[0](x).tanh()))


def test_leading_axes_go_through():
    network, x = MLP([8, 6, 4]).double(), normal(2, 3, 8)
    assert network(x).shape == (2, 3, 4)
    torch.testing.assert_close(network(x)[1, 2], network(x[1, 2]), atol=1e-13, rtol=1e-13)


def test_images_are_flattened():
    network, x = MLP([12, 6, 4]).double(), normal(5, 1, 3, 4)
    assert torch.equal(network(x), network(x.flatten(1)))


def test_norm_standardises_what_each_activation_sees():
    network = MLP([8, 6, 6, 4], norm=True, activation=nn.Identity)
    assert [type(layer) for layer in network.layers] == [*[nn.Linear, nn.BatchNorm1d, nn.Identity] * 2, nn.Linear]
    assert [layer.bias is None for layer in network.layers if isinstance(layer, nn.Linear)] == [True, True, False]


def test_norm_out_standardises_the_code():
    code = MLP([8, 6, 4], norm_out=True).double()(normal(64, 8))
    torch.testing.assert_close(code.mean(0), torch.zeros(4, dtype=torch.float64), atol=1e-12, rtol=0)
    # Batch normalisation adds 1e-5 to variances that are near 0.05 here.
    torch.testing.assert_close(code.var(0, correction=0), torch.ones(4, dtype=torch.float64), atol=2e-3, rtol=0)


@pytest.mark.parametrize("shape", [(5, 7), (5, 2, 3), (7,)], ids=str)
def test_a_wrong_number_of_features_is_refused_with_what_to_set(shape):
    with pytest.raises(ValueError, match=r"takes 8 features, got \(.*: set widths\[0\] to [67]"):
        MLP([8, 4])(torch.zeros(shape))


@pytest.mark.parametrize("widths", [[], [8]])
def test_one_width_is_no_network(widths):
    with pytest.raises(ValueError, match=r"such as \[64, 128, 32\], got \["):
        MLP(widths)
