"""Count the errors, smoothly."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.wrong_answers import FromBatch, WrongAnswers


@final
class MinimumClassificationError(nn.Module):
    """`mean_i sigmoid(F(x_i, y_i) - F(x_i, y'_i))`, `y'` most offending.  LeCun et al. 2006, section 2.2.3 and table 1.

    Juang, Hou, Lee 1997. The number of errors where energies are far apart: its gradient fades on both sides. What
    is one unit of energy is for the energy to learn.
    """

    def __init__(self, negatives: WrongAnswers | None = None) -> None:
        super().__init__()
        self.negatives = negatives or FromBatch()

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises what `negatives` raise: ValueError on a batch of one."""
        right, wrong, batch = self.negatives(self, F, hx, hy)
        return batch.mean((right - wrong.amin(1)).sigmoid())
