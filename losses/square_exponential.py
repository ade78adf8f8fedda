"""Square the energy of right answers; push the most offending up, less the higher it is."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.wrong_answers import FromBatch, WrongAnswers


@final
class SquareExponential(nn.Module):
    """`mean_i F(x_i, y_i)^2 + push exp(-F(x_i, y'_i))`, `y'` most offending.  LeCun et al. 2006, table 1.

    For energies that are not negative, such as distances: it pulls the energy of a right answer to zero, up from below.
    Its margin is infinite, with a push that decays. The paper names no value for the push.
    """

    def __init__(self, push: float = 1.0, negatives: WrongAnswers | None = None) -> None:
        super().__init__()
        self.push, self.negatives = push, negatives or FromBatch()

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises what `negatives` raise: ValueError on a batch of one."""
        right, wrong, batch = self.negatives(self, F, hx, hy)
        return batch.mean(right.square() + self.push * (-wrong.amin(1)).exp())
