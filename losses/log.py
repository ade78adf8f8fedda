"""A wrong answer should cost more than the right one, by a margin that never ends."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.wrong_answers import FromBatch, WrongAnswers


@final
class LogLoss(nn.Module):
    """`mean_i log(1 + exp(F(x_i, y_i) - F(x_i, y'_i)))`, `y'` most offending.  LeCun et al. 2006, eq. 12.

    The soft hinge: it pushes on however far apart they are, less and less. With one wrong answer it is the negative
    log-likelihood at `beta = 1`.
    """

    def __init__(self, negatives: WrongAnswers | None = None) -> None:
        super().__init__()
        self.negatives = negatives or FromBatch()

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises what `negatives` raise: ValueError on a batch of one."""
        right, wrong, batch = self.negatives(self, F, hx, hy)
        return batch.mean(softplus(right - wrong.amin(1)))
