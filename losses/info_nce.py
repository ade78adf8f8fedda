"""Which of the batch's y goes with x?"""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import contrast


@final
class InfoNCE(nn.Module):
    """`mean_i -log( exp(-F(x_i, y_i) / T) / sum_j exp(-F(x_i, y_j) / T) )`.  van den Oord, Li, Vinyals 2018, eq. 4.

    The negative log-likelihood of LeCun et al. 2006 (eq. 23) with the batch as the alternatives. The paper has no
    temperature `T` (its energies are unbounded); 0.1 is SimCLR's for energies of cosines.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        pairs, own, batch = contrast(self, F, hx, hy)
        return batch.mean(cross_entropy(-pairs / self.temperature, own, reduction="none"))
