"""What the tests of regularizers of a spectrum share."""

import torch
from conftest import normal

# Of many and few samples, of as many as features, and of two.
SHAPES = [(9, 4), (4, 9), (6, 6), (2, 5), (40, 7), (7, 40)]


def views(n, d, count=2, scale=1.0):
    """Views of the same samples, with dependent features and a mean, as leaves of a graph."""
    codes = normal(n, d) @ normal(d, d, seed=1) / d**0.5 + normal(d, seed=2)
    return [(scale * (codes + 0.3 * normal(n, d, seed=3 + i))).requires_grad_() for i in range(count)]


def white(n, d):
    """Codes of mean zero, all of one length, with `Z'Z` or, if `n < d`, `ZZ'` a multiple of the identity."""
    if n < d:
        orthogonal, _ = torch.linalg.qr(normal(d, n))
        return orthogonal.T
    axes = torch.eye(d, dtype=torch.float64)
    return torch.cat([axes, -axes] * (n // (2 * d)))


def rotation(d, seed=7):
    return torch.linalg.qr(normal(d, d, seed=seed))[0]


def assert_same(ours, official, codes, atol=1e-9):
    """In value and in gradient, to 1e-9 of each: sums of up to a few hundred terms in double precision."""
    torch.testing.assert_close(ours, official, rtol=1e-9, atol=atol)
    slopes, officials = torch.autograd.grad(ours, codes), torch.autograd.grad(official, codes)
    size = max(slope.abs().max().item() for slope in officials)
    assert size > 0
    torch.testing.assert_close(slopes, officials, rtol=1e-9, atol=max(1e-9 * size, 1e-12))
