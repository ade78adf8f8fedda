import pytest
import torch
from conftest import normal
from torch import nn

from ebm import FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding
from ebm.losses import PushDown
from ebm.networks import Whitened
from ebm.regularizers import WhitenedDistance


def test_codes_have_mean_zero_and_no_covariance_and_each_has_variance_one():
    codes = Whitened(nn.Identity(), epsilon=0.0)(normal(50, 4) @ normal(4, 4, seed=1) + 3)
    torch.testing.assert_close(codes.mean(0), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-12)  # roundings
    torch.testing.assert_close(codes.T.cov(), torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-12)


def test_to_push_down_on_the_cosine_of_whitened_codes_is_the_whitened_distance():
    x, y = normal(40, 5), normal(40, 5) + normal(40, 5, seed=1)
    F = FreeEnergy(JointEmbedding(nn.Identity(), Whitened(nn.Identity()), CosineDistance(2.0)))
    pushed = PushDown()(F, *F.energy.encode(x, y))
    torch.testing.assert_close(pushed, WhitenedDistance()(x, y), rtol=1e-12, atol=1e-12)  # the same sums


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_codes_keep_their_precision(dtype):
    assert Whitened(nn.Identity())(normal(9, 3).to(dtype)).dtype == dtype


def test_a_batch_of_one_is_refused_by_its_size():
    with pytest.raises(ValueError, match="Whitened needs at least 2 samples"):
        Whitened(nn.Linear(3, 3).double())(normal(1, 3))
