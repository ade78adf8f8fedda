import pytest
import torch
from conftest import normal
from torch import nn

from ebm.energies import Density
from ebm.networks import MLP


def of(features):
    return Density(MLP([features, 16, 1], activation=nn.SiLU)).double()


def test_it_is_what_the_network_says_of_y_beside_x():
    energy, x, y = of(5), normal(6, 3), normal(6, 2, seed=1)
    expected = torch.stack([energy.network(torch.cat([x[i], y[i]]))[0] for i in range(6)])
    # One row and six are multiplied in another order: sums of 16 products.
    torch.testing.assert_close(energy(x, y), expected, atol=1e-13, rtol=1e-13)


@pytest.mark.parametrize("nothing", [None, torch.empty(6, 0, dtype=torch.float64)], ids=["none", "no features"])
def test_of_y_alone_it_is_what_the_network_says_of_y(nothing):
    energy, y = of(2), normal(6, 2)
    assert torch.equal(energy(nothing, y), energy.network(y)[:, 0])


def test_one_x_without_features_goes_with_any_number_of_y():
    energy, y = of(2), normal(3, 6, 2)
    assert torch.equal(energy(y.new_empty(6, 0), y), energy.network(y)[..., 0])
    assert energy.pairs(y.new_empty(4, 0), y[0]).shape == (4, 6)


def test_a_network_of_more_than_one_number_is_refused():
    with pytest.raises(ValueError, match="one number a sample, got 4"):
        Density(MLP([2, 4]))(None, torch.zeros(3, 2))
