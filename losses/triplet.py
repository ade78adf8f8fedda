"""A wrong answer should cost more than the right one, by a margin."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import contrast


@final
class Triplet(nn.Module):
    """`mean_i max(0, F(x_i, y_i) - F(x_i, y_j) + margin)`, `y_j` semi-hard.  FaceNet: Schroff et al. 2015, eq. 3 and 4.

    Semi-hard is the wrong answer of lowest energy among those above the right answer's; where there is none, the
    wrong answer of highest energy, as the paper's reimplementations have it (the paper leaves that case open).
    The margin 0.2 is the paper's for the squared Euclidean distance of codes on the unit sphere.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        energies = contrast(self, F, hx, hy)
        right, wrong = energies.right, energies.wrong
        above = wrong.masked_fill(wrong <= right[:, None], torch.inf).amin(1)
        furthest = wrong.masked_fill(wrong.isposinf(), -torch.inf).amax(1)
        negative = torch.where(above.isfinite(), above, furthest)
        return energies.batch.mean((right - negative + self.margin).relu())
