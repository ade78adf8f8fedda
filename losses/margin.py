"""Pull matching pairs together, push mismatched ones out to a margin."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import contrast


@final
class MarginContrastive(nn.Module):
    """`mean F(x_i, y_i)^2 / 2 + mean_{i != j} max(0, margin - F(x_i, y_j))^2 / 2`.  Hadsell, Chopra, LeCun 2006.

    With the Euclidean distance as its energy it is theirs; on other energies it is half the square-square loss of LeCun
    et al. 2006. Mismatched pairs are all those of the batch. The paper names no margin: it sets the scale of the codes.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        energies = contrast(self, F, hx, hy)
        push = (self.margin - energies.wrong).relu().square().sum(1) / (energies.batch.size - 1)
        return energies.batch.mean(energies.right.square() + push) / 2
