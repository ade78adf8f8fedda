import pytest
import torch
from conftest import Shifted, Table, normal

from ebm import FreeEnergy, Sum
from ebm.distances import SquaredDistance
from ebm.energies import ConditionalAutoencoder, JointEmbedding
from ebm.networks import MLP


def tables(*seeds):
    return [Table(normal(3, 3, seed=seed)) for seed in seeds]


def test_energies_add_and_scale_as_numbers_do():
    a, b, c = tables(0, 1, 2)
    x, y = torch.eye(3).double(), torch.eye(3).double()[[1, 2, 0]]
    expected = a(x, y) + 0.5 * b(x, y) - 2 * c(x, y)
    # Three products and two sums, in another order.
    torch.testing.assert_close((a + 0.5 * (b + -4 * c))(x, y), expected, atol=1e-14, rtol=1e-14)
    torch.testing.assert_close((a * 1.0 + b * 0.5 + c * -2)(x, y), expected, atol=1e-14, rtol=1e-14)


def test_a_sum_of_sums_is_one_sum_with_every_energy_once():
    a, b, c = tables(0, 1, 2)
    whole = 2 * (a + 3 * (b + c))
    assert isinstance(whole, Sum)
    assert whole.parts() == [(2.0, a), (6.0, b), (6.0, c)]


def test_the_pairs_of_a_sum_are_the_sums_of_pairs():
    a, b = tables(0, 1)
    hx, hy = torch.eye(3).double(), torch.eye(3).double()
    torch.testing.assert_close((a + 0.1 * b).pairs(hx, hy), a.pairs(hx, hy) + 0.1 * b.pairs(hx, hy))


def test_the_one_energy_that_encodes_does_so_for_all():
    encoding = JointEmbedding(MLP([4, 3]), MLP([3, 3]), SquaredDistance()).double()
    other = Shifted(Table(torch.eye(3).double()), 1.0)
    x, y = normal(2, 4), normal(2, 4, seed=1)
    hx, hy = encoding.encode(x, y)
    torch.testing.assert_close((encoding + other)(x, y), encoding(x, y) + other.cost(hx, hy))
    torch.testing.assert_close((other + encoding).represent(x), encoding.represent(x))


def test_a_latent_is_shared_by_all_that_have_a_cost_of_it():
    energy = ConditionalAutoencoder(MLP([2 + 1, 2]), 1).double()
    x, y = normal(3, 2), normal(3, 2, seed=1)
    twice = FreeEnergy(energy + energy).infer(x, y)
    once = FreeEnergy(energy).infer(x, y)
    # Both are minima of least squares to a gradient of 1e-4.
    torch.testing.assert_close(twice.energy, 2 * once.energy, atol=1e-6, rtol=1e-6)


def test_two_energies_that_would_each_encode_are_refused():
    one, two = (JointEmbedding(MLP([4, 3]), MLP([3, 3])) for _ in range(2))
    with pytest.raises(ValueError, match=r"does `encode`, for all of them, but JointEmbedding, JointEmbedding"):
        one + two


@pytest.mark.parametrize("weight", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_refused(weight):
    (a,) = tables(0)
    with pytest.raises(ValueError, match="finite"):
        weight * a


def test_an_energy_and_a_number_do_not_add():
    (a,) = tables(0)
    with pytest.raises(TypeError):
        a + 1.0
