"""Which y goes with x, and which x with y? For two kinds of input, such as pictures and words."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import by_chunks, checked_batch, in_single_precision, own_columns, picked
from ebm.processes import Batch


@final
class CLIP(nn.Module):
    """The mean of InfoNCE over the rows and over the columns of `F(x_i, y_j)`.  Radford et al. 2021, figure 3.

    The temperature is a weight of the loss, `log_scale = log(1 / T)`, trained with the others: it starts at T = 0.07,
    and is kept from going below T = 0.01, as in section 2.5. For energies of cosines, such as those of a
    `JointEmbedding` with an `encoder_y` of its own. Energies are computed for `chunk` rows at a time: see
    `negatives.by_chunks`.
    """

    def __init__(self, temperature: float = 0.07, lowest: float = 0.01, chunk: int | None = None) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))
        self.lowest, self.chunk = lowest, chunk

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        batch = checked_batch(self, hx, hy)
        hx, hy = in_single_precision(F, hx, hy)
        answers, scale = batch.gather(hy), self._scale()

        def sums(hx: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            logits = -scale * F.pairs(hx, answers)
            return picked(logits, own), logits.logsumexp(1), logits.logsumexp(0, keepdim=True)

        parts = by_chunks(sums, (hx, own_columns(batch, hx)), len(answers), self.chunk)
        right, over_y, over_x = (torch.cat(part) for part in zip(*parts, strict=True))
        of_columns = Batch.of(over_x).gather(over_x).logsumexp(0)
        return (batch.mean(over_y - 2 * right) + of_columns.mean()) / 2

    def _scale(self) -> Tensor:
        with torch.no_grad():  # a clamp that is differentiated would hold the scale at its bound for good
            self.log_scale.clamp_(max=-math.log(self.lowest))
        return self.log_scale.exp()
