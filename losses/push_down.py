"""Push down on the energy of the data, and do nothing else."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.free_energy import FreeEnergy
from ebm.processes import mean


@final
class PushDown(nn.Module):
    """`mean F(x, y)`: the energy loss of LeCun et al. 2006 (section 2.2.1).

    Alone it collapses wherever the energy can be low everywhere: add a regularizer, or an architecture against it.
    """

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(*batch, ...)` to a scalar."""
        return mean(F(hx, hy).flatten())
