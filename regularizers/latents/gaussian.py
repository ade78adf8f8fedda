"""A code that is a normal distribution, and what it tells."""

from __future__ import annotations

import math
from functools import partial
from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.latents.rows import averages


@final
class GaussianInformation(nn.Module):
    """`mean_i KL( N(m_i, diag s_i^2) | N(0, I) ) = mean_i sum_d (m^2 + s^2 - 1 - log s^2) / 2` nats, sum over branches.

    Kingma and Welling 2014, appendix B. A code holds means and then logarithms of variances, `(batch, 2 D)`, as
    `ebm.networks.GaussianChannel` reads it. An upper bound of the information that z carries about x.
    """

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, 2 D)` of each branch to a scalar. Raises ValueError on an odd number of features."""
        return averages(self, codes, partial(_divergence, self)).sum()


@final
class Capacity(nn.Module):
    """`|mean_i KL_i - nats|`, mean over branches: a latent that is to tell so many nats, no more and no less.

    Burgess et al. 2018, eq. 8, with their `gamma` (1000) as the weight of the term; they raise the capacity from 0 to
    25 nats in training. Codes as in `GaussianInformation`.
    """

    def __init__(self, nats: float) -> None:
        super().__init__()
        if not 0 <= nats < math.inf:
            raise ValueError(f"a capacity is a number of nats that is not negative, not {nats}")
        self.nats = nats

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, 2 D)` of each branch to a scalar. Raises ValueError on an odd number of features."""
        return (averages(self, codes, partial(_divergence, self)) - self.nats).abs().mean()


def _divergence(regularizer: nn.Module, codes: Tensor) -> Tensor:
    """Nats `(batch,)` of each code."""
    if codes.shape[1] % 2:
        raise ValueError(
            f"{type(regularizer).__name__} reads codes of D means and D logarithms of variances, got an odd number of"
            f" features: {codes.shape[1]}"
        )
    mean, log_variance = codes.chunk(2, 1)
    # expm1(v) - v is v^2 / 2 near zero, where exp(v) - 1 - v would be rounding alone.
    return (mean.square() + torch.expm1(log_variance) - log_variance).sum(1) / 2
