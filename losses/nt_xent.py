"""Which of all the codes of the batch, of either side, is the other view of this one?"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import checked_batch, own_columns


@final
class NTXent(nn.Module):
    """InfoNCE over the `2 batch` codes of both views, each against all others.  SimCLR: Chen et al. 2020, eq. 1.

    For energies that take either code on either side, such as a cosine distance `1 - cos`. Temperature 0.1 is the
    paper's for ImageNet (table 5) and the default of its code; for CIFAR-10 it found 0.5 (appendix B.9).
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        batch = checked_batch(self, hx, hy)
        everyone = torch.cat([batch.gather(hx), batch.gather(hy)])
        logits = -F.pairs(torch.cat([hx, hy]), everyone) / self.temperature
        first = own_columns(batch, hx)
        itself, other_view = torch.cat([first, first + batch.size]), torch.cat([first + batch.size, first])
        logits = logits.scatter(1, itself[:, None], -torch.inf)
        losses = cross_entropy(logits, other_view, reduction="none")
        return batch.mean(losses.view(2, -1).mean(0))
