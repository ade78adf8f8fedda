"""Doubt that the right answer would be picked."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.wrong_answers import FromBatch, WrongAnswers


@final
class MinimumEmpiricalError(nn.Module):
    """`mean_i 1 - exp(-beta F(x_i, y_i)) / sum_y exp(-beta F(x_i, y))`, right and wrong.  LeCun et al. 2006, table 1.

    Ljolje, Ephraim, Rabiner 1990. `1 - exp(-beta NLL)`: bounded, so that a hopeless sample has little gradient. The
    paper leaves `beta` open.
    """

    def __init__(self, beta: float = 1.0, negatives: WrongAnswers | None = None) -> None:
        super().__init__()
        self.beta, self.negatives = beta, negatives or FromBatch()

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises what `negatives` raise: ValueError on a batch of one."""
        energies = self.negatives(self, F, hx, hy)
        return energies.batch.mean(-torch.expm1(-energies.surprise(self.beta)))
