"""VICReg and Barlow Twins, put together from our terms, against their official codes written out."""

import pytest
import torch
from conftest import normal
from torch import nn
from torch.nn import functional

from ebm import FreeEnergy
from ebm.distances import SquaredDistance
from ebm.energies import JointEmbedding
from ebm.losses import PushDown
from ebm.regularizers import Covariance, CrossCorrelation, Variance

shapes = pytest.mark.parametrize(("n", "d"), [(3, 8), (8, 3), (16, 16), (2, 5), (64, 7)])
scales = pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])


def branches(n, d, scale):
    x = scale * (normal(n, d) @ normal(d, d, seed=1) / d**0.5 + normal(d, seed=2))
    return x.requires_grad_(), (x.detach() + 0.3 * scale * normal(n, d, seed=3)).requires_grad_()


def off_diagonal(matrix):
    return matrix - torch.diag(matrix.diagonal())


def official_vicreg(x, y):
    """github.com/facebookresearch/vicreg, main_vicreg.py, with its weights of 25, 25 and 1."""
    n, d = x.shape
    repr_loss = functional.mse_loss(x, y)
    x, y = x - x.mean(dim=0), y - y.mean(dim=0)
    std_x, std_y = torch.sqrt(x.var(dim=0) + 0.0001), torch.sqrt(y.var(dim=0) + 0.0001)
    std_loss = torch.mean(functional.relu(1 - std_x)) / 2 + torch.mean(functional.relu(1 - std_y)) / 2
    cov_x, cov_y = (x.T @ x) / (n - 1), (y.T @ y) / (n - 1)
    cov_loss = off_diagonal(cov_x).pow(2).sum() / d + off_diagonal(cov_y).pow(2).sum() / d
    return 25 * repr_loss + 25 * std_loss + 1 * cov_loss


def our_vicreg(x, y):
    F = FreeEnergy(JointEmbedding(nn.Identity(), distance=SquaredDistance()))
    return 25 * PushDown()(F, x, y) + 25 * Variance()(x, y) + 1 * Covariance()(x, y)


def official_barlow_twins(x, y, redundancy):
    """github.com/facebookresearch/barlowtwins, main.py."""
    norm = nn.BatchNorm1d(x.shape[1], affine=False).to(x.dtype)
    c = norm(x).T @ norm(y) / len(x)
    on_diag = (c.diagonal() - 1).pow(2).sum()
    return on_diag + redundancy * off_diagonal(c).pow(2).sum()


def assert_same(ours, official, codes):
    """In value and in gradient; both are double precision, of sums of up to 64 terms, so that 1e-11 of each is left."""
    torch.testing.assert_close(ours, official, rtol=1e-11, atol=1e-11)
    slopes, officials = torch.autograd.grad(ours, codes), torch.autograd.grad(official, codes)
    size = max(slope.abs().max().item() for slope in officials)
    torch.testing.assert_close(slopes, officials, rtol=1e-10, atol=1e-10 * size)


@shapes
@scales
def test_our_terms_add_up_to_the_official_vicreg(n, d, scale):
    codes = branches(n, d, scale)
    assert_same(our_vicreg(*codes), official_vicreg(*codes), codes)


@shapes
@scales
@pytest.mark.parametrize("redundancy", [0.0051, 5e-3, 1.0])
def test_cross_correlation_is_the_official_barlow_twins(n, d, scale, redundancy):
    codes = branches(n, d, scale)
    assert_same(CrossCorrelation(redundancy)(*codes), official_barlow_twins(*codes, redundancy), codes)
