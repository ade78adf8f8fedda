import pytest
import torch
from conftest import normal
from torch import nn

from ebm.networks import ConvNet


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (9, 13)], ids=str)
def test_images_of_any_size_become_rows_of_features(size):
    assert ConvNet((3, 4, 8), features=5)(torch.zeros(2, 3, *size)).shape == (2, 5)


def test_each_convolution_but_the_first_halves_the_image():
    network = ConvNet((1, 4, 4, 4))
    sizes = []
    for layer in network.body:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[-2:])))
    network(torch.zeros(2, 1, 16, 12))
    assert sizes == [(16, 12), (8, 6), (4, 3)]


def test_it_is_a_linear_layer_on_the_mean_of_the_last_feature_map():
    network, x = ConvNet((1, 4, 6), features=5).double().eval(), normal(2, 1, 6, 6)
    features = network.body(x)
    mean = torch.stack([features[:, :, i, j] for i in range(3) for j in range(3)]).mean(0)
    expected = mean @ network.head.weight.T + network.head.bias
    # A mean of nine and sums of six, in two orders.
    torch.testing.assert_close(network(x), expected, atol=1e-13, rtol=1e-13)


def test_no_image_sees_another_in_evaluation_mode():
    network, x = ConvNet((1, 4, 6)).double().eval(), normal(3, 1, 6, 6)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 1, 8, 8), (2, 3, 8)], ids=str)
def test_what_is_no_image_of_its_channels_is_refused_by_its_shape(shape):
    with pytest.raises(ValueError, match=r"images \(batch, 3, height, width\), got \(2, "):
        ConvNet((3, 4))(torch.zeros(shape))
