"""A code that keeps to few dimensions."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.moments import branches


@final
class NuclearNorm(nn.Module):
    """`sum_k s_k(Z - mean) / sqrt(batch)`, the sum of the principal standard deviations, sum over branches.

    The convex stand-in for the number of dimensions in use (Fazel, Hindi, Boyd 2001). Its proximal map takes the same
    off each singular value (Cai, Candes, Shen 2010, theorem 2.1), so that directions of little variance become zero.

    `epsilon` rounds its kink at zero, `sqrt(s^2 + epsilon^2) - epsilon`, for gradients of codes that are flat.
    Singular values are those of the smaller of the two Gram matrices, in double precision.
    """

    def __init__(self, epsilon: float = 1e-4) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        return torch.stack([self._size(h) for h in branches(self, codes)]).sum()

    def prox(self, codes: Tensor, step: float) -> Tensor:
        """`argmin_U |U - mean|_* / sqrt(batch) + |U - codes|^2 / (2 step)`, of one branch, for `epsilon` 0."""
        mean = codes.mean(0)
        left, values, right = torch.linalg.svd(codes - mean, full_matrices=False)
        return left * (values - step / len(codes) ** 0.5).relu() @ right + mean

    def _size(self, codes: Tensor) -> Tensor:
        with torch.autocast(codes.device.type, enabled=False):
            centred = (codes - codes.mean(0)).double()
            gram = centred @ centred.T if len(codes) < codes.shape[1] else centred.T @ centred
            # Rounding can make an eigenvalue of a flat code negative.
            variances = torch.linalg.eigvalsh(gram / len(codes)).clamp_min(0)
            rounded = (variances + self.epsilon**2).sqrt() - self.epsilon
        return rounded.sum().to(codes.dtype)
