"""Every dimension of the code should vary."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.moments import branches


@final
class Variance(nn.Module):
    """`mean_d max(0, target - sqrt(var_d + epsilon))`, mean over branches.

    VICReg: Bardes, Ponce, LeCun 2022, eq. 1 and 2, with the unbiased variance. The mean over the two branches is the
    official code's; the paper's eq. 6 adds them, which with the same weight of 25 is twice as strong.
    """

    def __init__(self, target: float = 1.0, epsilon: float = 1e-4) -> None:
        super().__init__()
        self.target, self.epsilon = target, epsilon

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        return torch.stack([self._shortfall(h) for h in branches(self, codes)]).mean()

    def _shortfall(self, codes: Tensor) -> Tensor:
        return (self.target - (codes.var(0) + self.epsilon).sqrt()).relu().mean()
