"""A penalty of each code: sparse, in groups, non-negative, small."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.penalties import Penalty
from ebm.regularizers.latents.rows import averages


@final
class Penalised(nn.Module):
    """`mean_i penalty(z_i)`, sum over branches: with `ebm.L1` a sparse code (Olshausen and Field 1996), with
    `ebm.GroupL1` one sparse in groups, with `ebm.L2` a small one; any penalty that `minimize` takes.

    A penalty whose scale shrinks with the code is worth nothing by itself where a decoder can make up for it: hold the
    decoder's weights, by decay or by unit norm.
    """

    def __init__(self, penalty: Penalty) -> None:
        super().__init__()
        self.penalty = penalty

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar."""
        return averages(self, codes, self.penalty).sum()

    def prox(self, codes: Tensor, step: Tensor | float) -> Tensor:
        """`argmin_u sum_i penalty(u_i) + |u - codes|^2 / (2 step)`: of the sum, row by row, not of the mean."""
        return self.penalty.prox(codes, step)
