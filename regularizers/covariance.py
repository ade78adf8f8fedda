"""No two dimensions of the code should say the same."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.moments import branches, off_diagonal_square, second_moment


@final
class Covariance(nn.Module):
    """`1/D sum_{i != j} cov_ij^2`, sum over branches.  VICReg: Bardes, Ponce, LeCun 2022, eq. 3 and 4.

    Covariances over `batch - 1`, divided by D, not by the number `D (D - 1)` of pairs, as in paper and official code.
    It sees linear dependence alone, and nothing at all of a code that has shrunk to a point: add `Variance`.
    """

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        return torch.stack([_redundancy(h) for h in branches(self, codes)]).sum()


def _redundancy(codes: Tensor) -> Tensor:
    centred = codes - codes.mean(0)
    covariance = second_moment(centred, centred) / (len(codes) - 1)
    return off_diagonal_square(covariance) / codes.shape[1]
