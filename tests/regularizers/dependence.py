"""Codes whose dimensions depend on one another with no covariance, and what a regularizer makes of them."""

import math

import torch
from conftest import normal


def assert_same(ours, plain, *codes, draw=None):
    """In value and gradient, to 1e-9 of their size: sums of a thousand terms in double precision, in another order.

    `ours` may draw at random; `draw` then tells the formula what, from the same seed.
    """
    codes = [h.detach().clone().requires_grad_() for h in codes]
    torch.manual_seed(0)
    value = ours(*codes)
    torch.manual_seed(0)
    expected = plain(*codes) if draw is None else plain(*codes, draw())
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-11)
    slopes, others = torch.autograd.grad(value, codes), torch.autograd.grad(expected, codes)
    size = max(other.abs().max().item() for other in others)
    assert size > 1e-6
    torch.testing.assert_close(slopes, others, rtol=1e-9, atol=1e-9 * size)


def value_of(regularizer, *codes):
    """On one draw of directions, the same for all codes."""
    torch.manual_seed(0)
    return regularizer(*codes)


def parabola(n=512, seed=0):
    x = normal(n, 1, seed=seed)
    return torch.cat([x, (x.square() - 1) / 2**0.5], 1)


def ring(n=512, seed=0):
    angle = 2 * math.pi * torch.rand(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 2**0.5 * torch.cat([angle.cos(), angle.sin()], 1)


def parity(n=512, seed=0):
    """Three normal dimensions of which any two are independent, and any two tell the sign of the third."""
    x = normal(n, 3, seed=seed)
    return torch.stack([x[:, 0], x[:, 1], x[:, 2].abs() * (x[:, 0] * x[:, 1]).sign()], 1)


def shuffled(codes, seed):
    """The same dimensions, made independent."""
    generator = torch.Generator().manual_seed(seed)
    columns = [column[torch.randperm(len(codes), generator=generator)] for column in codes.unbind(1)]
    return torch.stack(columns, 1)


def surprise(regularizer, codes):
    """How many standard deviations its value lies above those of 20 shuffles, in which nothing depends."""
    independent = torch.stack([value_of(regularizer, shuffled(codes, seed)) for seed in range(20)])
    return ((value_of(regularizer, codes) - independent.mean()) / independent.std()).item()
