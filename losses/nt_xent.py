"""Which of all the codes of the batch, of either side, is the other view of this one?"""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import both_views, by_rows, without


@final
class NTXent(nn.Module):
    """InfoNCE over the `2 batch` codes of both views, each against all others.  SimCLR: Chen et al. 2020, eq. 1.

    For energies that take either code on either side, such as a cosine distance `1 - cos`. Temperature 0.1 is the
    paper's for ImageNet (table 5) and the default of its code; for CIFAR-10 it found 0.5 (appendix B.9). Energies are
    computed for `chunk` rows at a time: see `negatives.by_chunks`.
    """

    def __init__(self, temperature: float = 0.1, chunk: int | None = None) -> None:
        super().__init__()
        self.temperature, self.chunk = temperature, chunk

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        views = both_views(self, F, hx, hy)

        def surprise(codes: Tensor, itself: Tensor, other: Tensor) -> Tensor:
            energies = without(F.pairs(codes, views.everyone), itself)
            return cross_entropy(-energies / self.temperature, other, reduction="none")

        rows = views.codes, views.itself, views.other
        return views.mean(by_rows(surprise, rows, len(views.everyone), self.chunk))
