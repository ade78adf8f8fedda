"""How codes lie on the unit sphere, where all but their length is left of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ebm.meters.codes import checked, checked_pair
from ebm.meters.landscape import Scores

ROWS = 1024  # of the matrix of all pairs, at a time


def uniformity(codes: Tensor, t: float = 2.0) -> float:
    """`log mean_{n != m} exp(-t |u_n - u_m|^2)`, `u = h / |h|`.  Wang and Isola 2020, section 4.1.2, with their t = 2.

    0 where all codes point the same way, the lower the more evenly they lie over the sphere: `-4` or so in many
    dimensions. Codes `(N, D)`, two at least, all pairs of them, each once. Of codes at the origin the direction is
    none, and a distance of 0 from one another and 1 from the others stands for it.

    It does not see the length of codes, so neither that they shrank; and its potential reaches no further than nearby
    codes, so that it hardly tells a sphere in D dimensions from one in a half of them: -3.87 for 64, -3.75 for 32.
    """
    directions = on_sphere(checked(codes))
    # A common shift is nothing to a distance, but it is to the rounding of |a|^2 + |b|^2 - 2 a.b.
    directions = directions - directions.mean(0)
    squares = directions.square().sum(1)
    total = squares.new_zeros(())
    for first in range(0, len(directions), ROWS):
        own, others = directions[first : first + ROWS], directions[first:]
        apart = torch.addmm(squares[first:], own, others.T, alpha=-2).add_(squares[first : first + ROWS, None])
        near = apart.clamp_min_(0).mul_(-t).exp_()
        total += 2 * near.sum() - near[:, : len(own)].sum() - near.diagonal().sum()
    return float(total.log() - math.log(len(directions) * (len(directions) - 1)))


def alignment(hx: Tensor, hy: Tensor, alpha: float = 2.0) -> float:
    """`mean |u_x - u_y|^alpha` of the directions of matching rows.  Wang and Isola 2020, with their alpha = 2.

    From 0 where the two views of each sample point the same way up to `2^alpha` where they are opposite. Two branches
    `(N, D)` of one shape; raises ValueError for others. A collapsed code is aligned perfectly: read `uniformity` too.
    """
    x, y = checked_pair(hx, hy, rows=1)
    if x.shape != y.shape:
        raise ValueError(
            f"alignment compares codes of one space, got {x.shape[1]} and {y.shape[1]} features: give both branches as"
            " they enter the distance"
        )
    return float(torch.linalg.vector_norm(on_sphere(x) - on_sphere(y), dim=1).pow(alpha).mean())


def hypersphere(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Uniformity of the codes of y, and the alignment of both branches, which are of one shape."""
    return {"uniformity": uniformity(hy), "alignment": alignment(hx, hy)}


def on_sphere(codes: Tensor) -> Tensor:
    """Codes of length one, `(N, D) -> (N, D)`, however long or short they were; one at the origin stays there."""
    largest = codes.abs().amax(1, keepdim=True)
    return normalize(codes / torch.where(largest > 0, largest, 1), dim=1)
