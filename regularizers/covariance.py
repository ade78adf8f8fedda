"""No two dimensions of the code should say the same."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.gram import redundancy, smaller_side
from ebm.regularizers.moments import centred, rows, some


@final
class Covariance(nn.Module):
    """`1/D sum_{i != j} cov_ij^2`, sum over branches.  VICReg: Bardes, Ponce, LeCun 2022, eq. 3 and 4.

    Covariances over `batch - 1`, divided by D, not by the number `D (D - 1)` of pairs, as in paper and official code.
    It sees linear dependence alone, and nothing at all of a code that has shrunk to a point: add `Variance`.

    The smaller of `batch x batch` and `D x D` is all that it takes, in time and in memory. Differentiable once.
    """

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        return torch.stack([self._redundancy(h) for h in some(self, codes)]).sum()

    def _redundancy(self, codes: Tensor) -> Tensor:
        own, batch = smaller_side(*rows(self, codes))
        return redundancy(centred(own, batch), batch.size - 1, batch) / codes.shape[1]
