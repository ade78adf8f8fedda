"""The right answer should cost no more than any other."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.wrong_answers import FromBatch, WrongAnswers


@final
class Perceptron(nn.Module):
    """`mean_i F(x_i, y_i) - min_y F(x_i, y)`, the right answer among the y.  LeCun et al. 2006, section 2.2.2.

    Never negative, and zero where no wrong answer has a lower energy: it has no margin, so an energy that is the same
    everywhere satisfies it.
    """

    def __init__(self, negatives: WrongAnswers | None = None) -> None:
        super().__init__()
        self.negatives = negatives or FromBatch()

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises what `negatives` raise: ValueError on a batch of one."""
        right, wrong, batch = self.negatives(self, F, hx, hy)
        return batch.mean((right - wrong.amin(1)).relu())
