import pytest
import torch
from conftest import Table, normal
from torch import nn
from torch.nn.functional import mse_loss

from ebm import FreeEnergy
from ebm.distances import SquaredDistance
from ebm.energies import JointEmbedding
from ebm.losses import PushDown


def test_it_is_the_mean_energy_of_matching_pairs_and_of_no_others():
    table = Table(torch.arange(16.0).reshape(4, 4))
    value = PushDown()(FreeEnergy(table), *table.codes())
    assert value == (2 + 7) / 2  # the entries (0, 2) and (1, 3)


@pytest.mark.parametrize("shape", [(1, 3), (4, 7), (9, 2)], ids=str)
def test_on_the_squared_distance_it_is_the_mean_squared_error(shape):
    F = FreeEnergy(JointEmbedding(nn.Identity(), distance=SquaredDistance()))
    codes = normal(*shape).requires_grad_(), normal(*shape, seed=1).requires_grad_()
    value, reference = PushDown()(F, *codes), mse_loss(*codes)
    # Sums of at most 28 squares in two orders.
    torch.testing.assert_close(value, reference, atol=1e-12, rtol=1e-12)
    slopes, references = torch.autograd.grad(value, codes), torch.autograd.grad(reference, codes)
    torch.testing.assert_close(slopes, references, atol=1e-12, rtol=1e-12)


def test_several_axes_of_a_batch_are_one_batch():
    energy = JointEmbedding(nn.Identity())
    hx, hy = normal(3, 4, 5), normal(3, 4, 5, seed=1)
    torch.testing.assert_close(PushDown()(FreeEnergy(energy), hx, hy), energy(hx, hy).mean())
