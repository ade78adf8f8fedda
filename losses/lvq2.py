"""The right answer should cost no more than any other, but hopeless samples are given up."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.wrong_answers import FromBatch, WrongAnswers


@final
class LVQ2(nn.Module):
    """`mean_i min(ceiling, max(0, F(x_i, y_i) - F(x_i, y'_i)))`, `y'` most offending.  LeCun et al. 2006, table 1.

    Learning vector quantisation (Kohonen). Without a gradient where the right answer is the lowest already, which is
    no margin, and where the wrong one is lower by more than the ceiling, which bounds what an outlier can do. The
    table names no ceiling, `M`. The text (section 2.2.3) differs: it has the ratio of the two, up to `1 + delta`, for
    positive energies.
    """

    def __init__(self, ceiling: float = 1.0, negatives: WrongAnswers | None = None) -> None:
        super().__init__()
        self.ceiling, self.negatives = ceiling, negatives or FromBatch()

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises what `negatives` raise: ValueError on a batch of one."""
        right, wrong, batch = self.negatives(self, F, hx, hy)
        return batch.mean((right - wrong.amin(1)).relu().clamp_max(self.ceiling))
