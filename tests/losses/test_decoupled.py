import pytest
import torch
from conftest import normal
from torch import nn
from torch.nn.functional import normalize

from ebm import FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding
from ebm.losses import DecoupledContrastive, NTXent, WeightedDecoupledContrastive

F = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance()))


def by_paper(first, second, temperature, weight=lambda right: torch.ones_like(right)):
    """The mean over samples and views of the decoupled loss, sample by sample, of similarities of unit codes."""
    total, n = 0.0, len(first)
    views = normalize(first, dim=1), normalize(second, dim=1)
    right = torch.stack([views[0][i] @ views[1][i] for i in range(n)])
    for view in views:
        for i in range(n):
            wrong = [view[i] @ other[j] / temperature for other in views for j in range(n) if j != i]
            total = total - weight(right)[i] * right[i] / temperature + torch.stack(wrong).logsumexp(0)
    return total / (2 * n)


def of_mises_fisher(sigma):
    return lambda right: 2 - (right / sigma).exp() / (right / sigma).exp().mean()


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize("sigma", [None, 0.5, 2.0])
@pytest.mark.parametrize(("n", "d"), [(2, 3), (6, 4)])
def test_value_and_gradient_are_those_of_the_paper(temperature, sigma, n, d):
    hx, hy = normal(n, d).requires_grad_(), normal(n, d, seed=1).requires_grad_()
    if sigma is None:
        value, expected = DecoupledContrastive(temperature)(F, hx, hy), by_paper(hx, hy, temperature)
    else:
        value = WeightedDecoupledContrastive(temperature, sigma)(F, hx, hy)
        expected = by_paper(hx, hy, temperature, of_mises_fisher(sigma))
    # Sums of twelve exponentials in two orders, over a temperature of 0.1.
    torch.testing.assert_close(value, expected, atol=1e-9, rtol=1e-9)
    slopes, references = (torch.autograd.grad(loss, (hx, hy)) for loss in (value, expected))
    torch.testing.assert_close(slopes, references, atol=1e-9, rtol=1e-9)


def test_nt_xent_with_the_right_answer_taken_out_of_its_sum_is_lower():
    hx, hy = normal(6, 4), normal(6, 4, seed=1)
    assert DecoupledContrastive(0.5)(F, hx, hy) < NTXent(0.5)(F, hx, hy)


def test_it_goes_on_pulling_where_nt_xent_has_stopped():
    """Views that agree, far from all others: the coupled gradient is gone, the decoupled one is not."""
    hx = torch.eye(4, dtype=torch.float64)
    hy = (hx + 0.01 * normal(4, 4)).requires_grad_()
    coupled, decoupled = (
        torch.autograd.grad(loss(0.05)(F, hx, hy), hy)[0].norm() for loss in (NTXent, DecoupledContrastive)
    )
    assert coupled < 1e-6 * decoupled


def test_a_pair_that_is_far_apart_weighs_more_than_one_that_is_near():
    hx = torch.eye(4, 8, dtype=torch.float64)
    hy = hx.clone()
    hy[0, 7] = 1.0  # the first pair is at 45 degrees, the others agree
    plain, weighted = (
        torch.autograd.grad(loss()(F, hx, h), h)[0][0].norm()
        for loss, h in (
            (kind, hy.clone().requires_grad_()) for kind in (DecoupledContrastive, WeightedDecoupledContrastive)
        )
    )
    assert weighted > plain


def test_where_all_pairs_are_equally_near_the_weights_are_one():
    hx = normal(5, 4)
    torch.testing.assert_close(
        WeightedDecoupledContrastive()(F, hx, 3 * hx), DecoupledContrastive()(F, hx, hx), atol=1e-12, rtol=1e-12
    )
