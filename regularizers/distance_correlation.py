"""No two dimensions of the code should depend on one another, by the distances between samples in each."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.dimensions import sum_over_pairs
from ebm.regularizers.moments import branches


@final
class DistanceCorrelation(nn.Module):
    """`sum_{i < j} R^2(h_i, h_j)` over pairs of dimensions, mean over branches; `R^2 = V^2_ij / sqrt(V^2_ii V^2_jj)`.

    `V^2_ij = mean_{n, m} A_i[n, m] A_j[n, m]`, `A_i` the matrix of distances `|h_ni - h_mi|` less the means of its
    rows and columns: the sample distance correlation of Szekely, Rizzo, Bakirov 2007, between 0
    and 1 for each pair and biased up by order 1 / N; not the unbiased one of Szekely and Rizzo 2014, which may be
    negative and needs four samples. Epsilon, on each `V^2_ii`, makes that of a constant dimension 0, as defined
    there.

    Zero in the limit of many samples if and only if all pairs are independent; of three dimensions that depend on one
    another, but no two of them, it sees nothing: see `SIGReg`. It does not see the scale of a code: add `Variance`.
    """

    def __init__(self, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        return torch.stack([self._dependence(h) for h in branches(self, codes)]).mean()

    def _dependence(self, codes: Tensor) -> Tensor:
        return sum_over_pairs(codes, _distance, floor=self.epsilon * len(codes) ** 2)


def _distance(differences: Tensor) -> tuple[Tensor, Tensor]:
    return differences.abs(), differences.sign()
