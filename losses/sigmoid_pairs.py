"""Does this y go with this x? Asked of each pair by itself."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import by_rows, checked_batch, in_single_precision, own_columns


@final
class SigmoidPairs(nn.Module):
    """`-mean_i sum_j log sigmoid(+-(t (neutral - F(x_i, y_j)) + b))`, + where i = j.  SigLIP: Zhai et al. 2023.

    Algorithm 1 of the paper, whose section 3.2 has b with the other sign. `log_scale = log t` and the bias `b` are
    weights of the loss, trained with the others, and start at the paper's log 10 and -10. The paper's similarities are
    cosines: `neutral` is the energy of a pair whose similarity is zero, 1 for a cosine distance `1 - cos`.
    For `chunk` see `negatives.by_chunks`.
    """

    def __init__(
        self, scale: float = 10.0, bias: float = -10.0, neutral: float = 1.0, chunk: int | None = None
    ) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(bias))
        self.neutral, self.chunk = neutral, chunk

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        batch = checked_batch(self, hx, hy)
        hx, hy = in_single_precision(F, hx, hy)
        answers = batch.gather(hy)

        def surprise(hx: Tensor, own: Tensor) -> Tensor:
            logits = self.log_scale.exp() * (self.neutral - F.pairs(hx, answers)) + self.bias
            signs = torch.full_like(logits, -1).scatter(1, own[:, None], 1)
            return -logsigmoid(signs * logits).sum(1)

        return batch.mean(by_rows(surprise, (hx, own_columns(batch, hx)), len(answers), self.chunk))
