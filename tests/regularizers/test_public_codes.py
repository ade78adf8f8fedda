"""Where public implementations of VICReg and Barlow Twins are not the official formula, and by how much.

solo-learn (1.0), stable-pretraining (0.1) and lightly (1.6), each written out from what it computes.
"""

import pytest
import torch
from conftest import normal

from ebm.regularizers import Covariance, CrossCorrelation, Variance

shapes = pytest.mark.parametrize("shape", [(16, 40), (40, 16)], ids=["fewer samples", "fewer features"])


def views(shape, std=0.5):
    x = std * normal(*shape)
    return x.requires_grad_(), (x.detach() + 0.1 * normal(*shape, seed=1)).requires_grad_()


def shortfall(h):
    return (1 - (h.var(0) + 1e-4).sqrt()).relu().mean()


def off_diagonal(matrix):
    return matrix - torch.diag(matrix.diagonal())


def covariance(h):
    centred = h - h.mean(0)
    return off_diagonal(centred.T @ centred / (len(h) - 1)).square().sum() / h.shape[1]


def barlow_twins(a, b):
    matrix = a.T @ b / len(a)
    return (matrix.diagonal() - 1).square().sum() + 5e-3 * off_diagonal(matrix).square().sum()


@shapes
def test_the_variance_of_solo_learn_is_twice_the_official_code_s_as_in_the_paper(shape):
    x, y = views(shape)
    added = shortfall(x) + shortfall(y)
    # The paper's eq. 6 adds the branches and its code halves the sum: the published results are of the code.
    torch.testing.assert_close(added, 2 * Variance()(x, y), rtol=1e-12, atol=1e-12)


@shapes
def test_the_variance_and_covariance_of_lightly_and_stable_pretraining_are_official(shape):
    x, y = views(shape)
    torch.testing.assert_close((shortfall(x) + shortfall(y)) / 2, Variance()(x, y), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(covariance(x) + covariance(y), Covariance()(x, y), rtol=1e-12, atol=1e-12)


@shapes
def test_the_barlow_twins_of_lightly_and_solo_learn_are_official(shape):
    x, y = views(shape)
    a, b = (torch.nn.functional.batch_norm(h, None, None, training=True) for h in (x, y))
    torch.testing.assert_close(barlow_twins(a, b), CrossCorrelation()(x, y), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("n", [16, 64, 256])
def test_the_barlow_twins_of_stable_pretraining_counts_n_where_its_deviation_counts_one_less(n):
    x = normal(n, 12)
    a = (x - x.mean(0)) / (x.std(0) + 1e-5)
    # A feature that agrees with itself has to have a correlation of 1. Theirs has 1 - 1 / N, whatever the codes; in
    # the official code, as in ours, it has 1 but for the epsilon of the variance.
    theirs = (a.T @ a / n).diagonal()
    torch.testing.assert_close(theirs, torch.full_like(theirs, 1 - 1 / n), rtol=1e-4, atol=0)  # their epsilon
    assert barlow_twins(a, a) > CrossCorrelation()(x, x)


@pytest.mark.parametrize(("n", "least", "most"), [(64, 0.1, 1.0), (256, 0.03, 0.3)])
def test_which_turns_its_slope_the_more_the_smaller_the_batch_is(n, least, most):
    x = normal(n, 32).requires_grad_()
    y = x.detach() + 0.1 * normal(n, 32, seed=1)
    a, b = ((h - h.mean(0)) / (h.std(0) + 1e-5) for h in (x, y))
    theirs, ours = torch.autograd.grad(barlow_twins(a, b), x)[0], torch.autograd.grad(CrossCorrelation()(x, y), x)[0]
    assert least < ((theirs - ours).norm() / ours.norm()).item() < most
