"""Square energies: right answers to zero, the most offending out to a margin."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.wrong_answers import FromBatch, WrongAnswers


@final
class SquareSquare(nn.Module):
    """`mean_i F(x_i, y_i)^2 + max(0, margin - F(x_i, y'_i))^2`, `y'` most offending.  LeCun et al. 2006, table 1.

    For energies that are not negative, such as distances: it pulls the energy of a right answer to zero, up from below.
    Some prints of the table have a minus between the two. `MarginContrastive` is half of it, over all wrong answers.
    The paper names no margin.
    """

    def __init__(self, margin: float = 1.0, negatives: WrongAnswers | None = None) -> None:
        super().__init__()
        self.margin, self.negatives = margin, negatives or FromBatch()

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises what `negatives` raise: ValueError on a batch of one."""
        right, wrong, batch = self.negatives(self, F, hx, hy)
        return batch.mean(right.square() + (self.margin - wrong.amin(1)).relu().square())
