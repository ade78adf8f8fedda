"""The similarities of a batch as the factors of a matrix: one for its own answer, none for all others."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import by_rows, checked_batch, in_single_precision, own_columns, picked


@final
class SpectralContrastive(nn.Module):
    """`-2 mean_i s(x_i, y_i) + mean_{i != j} s(x_i, y_j)^2`, `s = neutral - F`.  HaoChen, Wei, Gaidon, Ma 2021, eq. 6.

    The paper's similarity is `s = f(x)'f(y)`, so `neutral` is the energy of a pair whose similarity is zero: 1 for a
    cosine distance `1 - cos`; `c` for one with scale `c`, which is the paper's for codes of norm `sqrt(c)`; 0 for the
    energy `-f(x)'f(y)`. A wrong answer that is less alike than that is pulled back. For `chunk` see
    `negatives.by_chunks`.
    """

    def __init__(self, neutral: float = 1.0, chunk: int | None = None) -> None:
        super().__init__()
        self.neutral, self.chunk = neutral, chunk

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        batch = checked_batch(self, hx, hy)
        hx, hy = in_single_precision(F, hx, hy)
        answers = batch.gather(hy)

        def cost(hx: Tensor, own: Tensor) -> Tensor:
            similar = self.neutral - F.pairs(hx, answers)
            wrong = similar.scatter(1, own[:, None], 0)
            return wrong.square().sum(1) / (batch.size - 1) - 2 * picked(similar, own)

        return batch.mean(by_rows(cost, (hx, own_columns(batch, hx)), len(answers), self.chunk))
