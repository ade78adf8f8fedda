import pytest
import torch
from conftest import normal
from torch import nn

from ebm.networks import ResNet18


def small():
    return ResNet18(channels=3, width=4).double().eval()


def test_it_has_the_eighteen_layers_and_the_parameters_of_the_paper():
    network = ResNet18()
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(convolutions) == 17  # the eighteenth is the classifier, which is a matter for probes
    # Of the published 11,689,512, less a classifier of 512 x 1000 + 1000 and a stem of 49 pixels a filter, not 9.
    assert sum(p.numel() for p in network.parameters()) == 11_689_512 - 513_000 - 3 * 64 * (49 - 9)


@pytest.mark.parametrize("size", [(32, 32), (8, 12)], ids=str)
def test_images_become_rows_of_eight_widths(size):
    assert small()(normal(2, 3, *size)).shape == (2, 32)


def test_the_last_three_stages_each_halve_the_image_and_the_stem_keeps_it():
    network, sizes = small(), []
    for part in network.body:
        part.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    network(normal(1, 3, 32, 32))
    assert sizes == [32, 32, 32, 32, 16, 8, 4]  # convolution, norm, ReLU, four stages


def test_a_block_adds_to_what_it_is_given():
    """With its residual branch silenced, a block that changes no shape hands on what it got, which is not negative."""
    block, x = small().body[3][0], normal(2, 4, 5, 5).relu()
    nn.init.zeros_(block.residual[-1].weight)
    torch.testing.assert_close(block(x), x)


def test_no_image_sees_another_in_evaluation_mode():
    network, x = small(), normal(3, 3, 8, 8)
    torch.testing.assert_close(network(x)[1:2], network(x[1:2]), atol=1e-12, rtol=1e-12)


def test_every_weight_gets_a_gradient():
    network = small().train()
    network(normal(4, 3, 8, 8)).square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in network.parameters())


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 1, 8, 8)], ids=str)
def test_what_is_no_image_of_its_channels_is_refused_by_its_shape(shape):
    with pytest.raises(ValueError, match=r"images \(batch, 3, height, width\), got \(2, "):
        small()(torch.zeros(shape))
