"""A code that is a choice among alternatives, and what it tells."""

from __future__ import annotations

import math
from typing import final

from torch import Tensor, nn

from ebm.regularizers.latents.rows import averages


@final
class CategoricalInformation(nn.Module):
    """`mean_i KL( softmax(h_i) | uniform ) = log K - mean_i H(softmax(h_i))` nats, sum over branches.

    Of a discrete latent with K alternatives, whose logits the code holds (Jang, Gu, Poole 2017): from 0,
    where the choice is left to chance, to `log K`, which is all that such a latent can tell.
    """

    def forward(self, *codes: Tensor) -> Tensor:
        """Logits `(batch, K)` of each branch to a scalar."""
        return averages(self, codes, _divergence).sum()


def _divergence(logits: Tensor) -> Tensor:
    """Nats `(batch,)` of each choice."""
    logarithms = logits.log_softmax(1)
    return (logarithms.exp() * logarithms).sum(1) + math.log(logits.shape[1])
