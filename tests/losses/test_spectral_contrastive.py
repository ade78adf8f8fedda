import pytest
import torch
from conftest import Table, normal
from torch import nn
from torch.nn.functional import normalize

from ebm import Energy, FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding
from ebm.losses import SpectralContrastive


class InnerProduct(Energy):
    """`-f(x)'f(y)`."""

    def cost(self, hx, hy, z=None):
        return -(hx * hy).sum(-1)


def by_paper(hx, hy):
    """The empirical loss of the paper, pair by pair, over the pairs of different samples."""
    n = len(hx)
    right = sum(hx[i] @ hy[i] for i in range(n)) / n
    wrong = sum((hx[i] @ hy[j]) ** 2 for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return -2 * right + wrong


def agree(value, expected, hx, hy):
    # Sums of 36 products in two orders.
    torch.testing.assert_close(value, expected, atol=1e-9, rtol=1e-9)
    slopes, references = (torch.autograd.grad(v, (hx, hy)) for v in (value, expected))
    torch.testing.assert_close(slopes, references, atol=1e-9, rtol=1e-9)


def test_on_inner_products_value_and_gradient_are_those_of_the_paper():
    hx, hy = normal(6, 4).requires_grad_(), normal(6, 4, seed=1).requires_grad_()
    agree(SpectralContrastive(neutral=0.0)(FreeEnergy(InnerProduct()), hx, hy), by_paper(hx, hy), hx, hy)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_on_cosine_distances_they_are_those_of_the_paper_for_codes_of_one_norm(scale):
    hx, hy = normal(6, 4).requires_grad_(), normal(6, 4, seed=1).requires_grad_()
    F = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance(scale)))
    expected = by_paper(*(scale**0.5 * normalize(h, dim=1) for h in (hx, hy)))
    agree(SpectralContrastive(neutral=scale)(F, hx, hy), expected, hx, hy)


def test_its_minimum_over_codes_is_a_factor_of_the_matrix_of_pairs():
    """With as many features as samples: each answer its own, and all others orthogonal to it."""
    hx = 3**0.5 * torch.eye(4, dtype=torch.float64)  # n (n - 1) / n / (n - 1) of any norm has no wrong answer alike
    value = SpectralContrastive(neutral=0.0)(FreeEnergy(InnerProduct()), hx, hx)
    assert value.item() == pytest.approx(-6, rel=1e-12)


def test_a_wrong_answer_is_pushed_while_it_is_alike_and_pulled_once_it_is_less_than_that():
    energies = torch.zeros(4, 4, dtype=torch.float64)
    energies[:2, 2:] = torch.tensor([[0.0, 0.4], [1.7, 0.0]], dtype=torch.float64)
    table = Table(energies)
    (slope,) = torch.autograd.grad(SpectralContrastive()(FreeEnergy(table), *table.codes()), table.energies)
    torch.testing.assert_close(
        slope[:2, 2:],
        # -2 s / (n (n - 1)) with s = 1 - E, and 2 / n for the right answers.
        torch.tensor([[1.0, -0.6], [0.7, 1.0]], dtype=torch.float64),
        atol=1e-12,
        rtol=1e-12,
    )
