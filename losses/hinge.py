"""A wrong answer should cost more than the right one, by a margin."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.wrong_answers import FromBatch, WrongAnswers


@final
class Hinge(nn.Module):
    """`mean_i max(0, margin + F(x_i, y_i) - F(x_i, y'_i))`, `y'` most offending.  LeCun et al. 2006, section 2.2.3.

    Most offending is the wrong answer of lowest energy. The paper names no margin; 1 is that of support vector
    machines.
    """

    def __init__(self, margin: float = 1.0, negatives: WrongAnswers | None = None) -> None:
        super().__init__()
        self.margin, self.negatives = margin, negatives or FromBatch()

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises what `negatives` raise: ValueError on a batch of one."""
        right, wrong, batch = self.negatives(self, F, hx, hy)
        return batch.mean((self.margin + right - wrong.amin(1)).relu())
