"""Which of the batch's y goes with x?"""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import by_rows, checked_batch, in_single_precision, own_columns


@final
class InfoNCE(nn.Module):
    """`mean_i -log( exp(-F(x_i, y_i) / T) / sum_j exp(-F(x_i, y_j) / T) )`.  van den Oord, Li, Vinyals 2018, eq. 4.

    The negative log-likelihood of LeCun et al. 2006 (section 2.2.4) with the batch as the alternatives. The paper has
    no temperature `T` (its energies are unbounded); 0.1 is SimCLR's for energies of cosines. Energies are computed for
    `chunk` rows at a time: see `negatives.by_chunks`.
    """

    def __init__(self, temperature: float = 0.1, chunk: int | None = None) -> None:
        super().__init__()
        self.temperature, self.chunk = temperature, chunk

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        batch = checked_batch(self, hx, hy)
        hx, hy = in_single_precision(F, hx, hy)
        answers = batch.gather(hy)

        def surprise(hx: Tensor, own: Tensor) -> Tensor:
            return cross_entropy(-F.pairs(hx, answers) / self.temperature, own, reduction="none")

        return batch.mean(by_rows(surprise, (hx, own_columns(batch, hx)), len(answers), self.chunk))
