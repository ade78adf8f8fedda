import math

import pytest
import torch
from conftest import normal
from torch import nn
from torch.nn.functional import normalize

from ebm import FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding
from ebm.losses import SigmoidPairs

F = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance()))


def by_paper(hx, hy, log_scale, bias):
    """Algorithm 1 of the paper, pair by pair."""
    total, n = 0.0, len(hx)
    for i in range(n):
        for j in range(n):
            logit = log_scale.exp() * (normalize(hx[i], dim=0) @ normalize(hy[j], dim=0)) + bias
            total = total + torch.log1p((-logit if i == j else logit).exp())
    return total / n


@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (3.0, 0.5)])
def test_value_and_gradient_are_those_of_the_paper(scale, bias):
    hx, hy = normal(6, 4).requires_grad_(), normal(6, 4, seed=1).requires_grad_()
    loss = SigmoidPairs(scale, bias).double()
    given = (hx, hy, loss.log_scale, loss.bias)
    value, expected = loss(F, hx, hy), by_paper(*given)
    # Sums of 36 logarithms in two orders.
    torch.testing.assert_close(value, expected, atol=1e-9, rtol=1e-9)
    slopes, references = (torch.autograd.grad(v, given) for v in (value, expected))
    torch.testing.assert_close(slopes, references, atol=1e-9, rtol=1e-9)


def test_its_weights_start_where_those_of_the_paper_do():
    loss = SigmoidPairs()
    assert loss.log_scale.item() == pytest.approx(math.log(10))
    assert loss.bias.item() == -10
    assert {name for name, _ in loss.named_parameters()} == {"log_scale", "bias"}


def test_at_the_start_it_is_almost_only_the_pull_of_the_right_answers():
    """What the bias of -10 is there for: wrong answers, which are many, are as good as known."""
    hx, hy = normal(64, 256), normal(64, 256, seed=1)
    right = 1 - CosineDistance()(hx, hy)
    pull = torch.log1p((10 - 10 * right).exp()).mean()
    assert SigmoidPairs()(F, hx, hy).item() == pytest.approx(pull.item(), rel=1e-2)


def test_an_energy_with_another_zero_is_the_same_to_it_once_it_is_told():
    hx, hy = normal(5, 4), normal(5, 4, seed=1)
    scaled = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance(scale=2.0)))
    # Weights in single precision.
    torch.testing.assert_close(
        SigmoidPairs(scale=5.0, neutral=2.0)(scaled, hx, hy), SigmoidPairs()(F, hx, hy), rtol=1e-6, atol=0
    )


def test_logits_far_beyond_what_an_exponential_holds_are_told_apart():
    hx = torch.eye(2)
    value = SigmoidPairs(scale=1e4, bias=0.0)(F, hx, hx.flip(0))
    assert value.item() == pytest.approx(1e4 + math.log(2), rel=1e-5)  # all wrong: 1e4 for each, log 2 for each right
