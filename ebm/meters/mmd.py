"""How far apart two distributions are, by draws of each."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.meters.codes import checked

BANDWIDTH = 0.3
ROWS = 1024  # of a matrix of kernels, at a time


def kernel(x: Tensor, y: Tensor, bandwidth: float = BANDWIDTH) -> Tensor:
    """`exp(-|x_i - y_j|^2 / (2 bandwidth^2))`, `(N, D)` and `(M, D)` to `(N, M)`."""
    squares = torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist").square()
    return (-squares / (2 * bandwidth**2)).exp()


def squared_mmd(x: Tensor, y: Tensor, bandwidth: float = BANDWIDTH) -> float:
    """`mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_ij k(x_i, y_j)` of draws `(N, D)` and `(M, D)`.

    Gretton et al. 2012, eq. 3, for the Gaussian kernel: without bias, so it is below zero as often as above where the
    two distributions are the same. What is much finer than the bandwidth it does not see. Raises ValueError for fewer
    than two draws of either, or for others than `checked` takes.
    """
    if min(len(x), len(y)) < 2:
        raise ValueError(f"the squared MMD needs two draws of each distribution at least, got {len(x)} and {len(y)}")
    x, y = checked(x), checked(y)
    across = _total(x, y, bandwidth) / (len(x) * len(y))
    return float(within(x, bandwidth) + within(y, bandwidth) - 2 * across)


def within(x: Tensor, bandwidth: float = BANDWIDTH) -> Tensor:
    """`mean_{i != j} k(x_i, x_j)`."""
    return (_total(x, x, bandwidth) - len(x)) / (len(x) * (len(x) - 1))


def _total(x: Tensor, y: Tensor, bandwidth: float) -> Tensor:
    return torch.stack([kernel(rows, y, bandwidth).sum() for rows in x.split(ROWS)]).sum()
