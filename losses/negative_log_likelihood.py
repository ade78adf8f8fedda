"""Which of all answers goes with x?"""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.wrong_answers import FromBatch, WrongAnswers


@final
class NegativeLogLikelihood(nn.Module):
    """`mean_i F(x_i, y_i) + 1/beta log sum_y exp(-beta F(x_i, y))`, over right and wrong.  LeCun et al. 2006, 2.2.4.

    Pushes on every wrong answer, by its share. `Perceptron` as `beta` grows, within `log(K + 1) / beta`; `LogLoss` with
    one wrong answer; from the batch it is `InfoNCE` at the temperature `1 / beta`, divided by beta. With answers that
    are samples it is a choice among them, and not the density of a continuous y. The paper leaves `beta` open.
    """

    def __init__(self, beta: float = 1.0, negatives: WrongAnswers | None = None) -> None:
        super().__init__()
        self.beta, self.negatives = beta, negatives or FromBatch()

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises what `negatives` raise: ValueError on a batch of one."""
        energies = self.negatives(self, F, hx, hy)
        return energies.batch.mean(energies.surprise(self.beta) / self.beta)
