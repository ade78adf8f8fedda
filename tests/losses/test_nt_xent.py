import math

import pytest
import torch
from conftest import normal
from torch import nn
from torch.nn.functional import normalize

from ebm import FreeEnergy
from ebm.distances import CosineDistance, SquaredDistance
from ebm.energies import JointEmbedding
from ebm.losses import NTXent


def of(distance):
    return FreeEnergy(JointEmbedding(nn.Identity(), distance=distance))


def by_loop(similar, temperature):
    """SimCLR, equation 1 and algorithm 1: `similar` of `2 n` codes, where `k` and `k + n` are two views."""
    total, n = 0.0, len(similar) // 2
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        others = sum(math.exp(similar[i][k] / temperature) for k in range(2 * n) if k != i)
        total += -math.log(math.exp(similar[i][j] / temperature) / others)
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
@pytest.mark.parametrize(("n", "d"), [(2, 3), (5, 4), (7, 1)])
def test_it_is_equation_1_of_simclr(temperature, n, d):
    hx, hy = normal(n, d), normal(n, d, seed=1)
    codes = torch.cat([hx, hy]).tolist()

    def cosine(a, b):
        dot = sum(p * q for p, q in zip(a, b, strict=True))
        return dot / math.sqrt(sum(p * p for p in a)) / math.sqrt(sum(q * q for q in b))

    expected = by_loop([[cosine(a, b) for b in codes] for a in codes], temperature)
    assert NTXent(temperature)(of(CosineDistance()), hx, hy).item() == pytest.approx(expected, rel=1e-11)


def test_other_energies_take_the_place_of_the_cosine():
    hx, hy = normal(4, 3), normal(4, 3, seed=1)
    codes = torch.cat([hx, hy])
    expected = by_loop((-(codes[:, None] - codes).square().mean(-1)).tolist(), 0.1)
    assert NTXent()(of(SquaredDistance()), hx, hy).item() == pytest.approx(expected, rel=1e-11)


def test_its_gradient_is_that_of_the_formula():
    hx, hy = normal(5, 4).requires_grad_(), normal(5, 4, seed=1).requires_grad_()
    similar = normalize(torch.cat([hx, hy]), dim=-1) @ normalize(torch.cat([hx, hy]), dim=-1).T / 0.1
    others = torch.stack([torch.cat([row[:i], row[i + 1 :]]).logsumexp(0) for i, row in enumerate(similar)])
    views = torch.cat([similar.diagonal(5), similar.diagonal(-5)])
    expected = torch.autograd.grad((others - views).mean(), (hx, hy), retain_graph=True)
    slopes = torch.autograd.grad(NTXent()(of(CosineDistance()), hx, hy), (hx, hy))
    # Ten exponentials in two orders, over a temperature of 0.1.
    torch.testing.assert_close(slopes, expected, atol=1e-11, rtol=1e-11)


def test_the_two_views_count_alike():
    hx, hy = normal(5, 4), normal(5, 4, seed=1)
    F = of(CosineDistance())
    torch.testing.assert_close(NTXent()(F, hx, hy), NTXent()(F, hy, hx), atol=1e-12, rtol=1e-12)


def test_where_all_codes_are_the_same_it_is_the_log_of_the_number_of_others():
    codes = torch.ones(4, 3, dtype=torch.float64)
    assert NTXent()(of(CosineDistance()), codes, codes).item() == pytest.approx(math.log(7), rel=1e-12)
