"""Codes that are distributions, and draws from them: what an encoder can tell through them is limited."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import gumbel_softmax, one_hot


@final
class GaussianChannel(nn.Module):
    """`z = m + s e`, `e` standard normal, in training; `z = m` else.  Kingma and Welling 2014, section 2.4.

    A code `(*batch, 2 D)` holds means `m` and then `log s^2`. `ebm.regularizers.GaussianInformation` is what it tells.
    """

    def forward(self, code: Tensor) -> Tensor:
        """`(*batch, 2 D) -> (*batch, D)`."""
        if code.shape[-1] % 2:
            raise ValueError(f"a code of D means and D logarithms of variances has no odd {code.shape[-1]} features")
        mean, log_variance = code.chunk(2, -1)
        if not self.training:
            return mean
        return mean + (log_variance / 2).exp() * torch.randn_like(mean)


@final
class CategoricalChannel(nn.Module):
    """One of K alternatives: drawn in training, with the derivative of a softmax at `temperature`; the likeliest else.

    Straight-through Gumbel-softmax: Jang, Gu, Poole 2017, section 2.2. A code `(*batch, K)` holds logits;
    `ebm.regularizers.CategoricalInformation` is what it tells.
    """

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"the temperature of a softmax is positive, not {temperature}")
        self.temperature = temperature

    def forward(self, code: Tensor) -> Tensor:
        """`(*batch, K) -> (*batch, K)`, one of them 1 and the rest 0."""
        if self.training:
            return gumbel_softmax(code, self.temperature, hard=True)
        return one_hot(code.argmax(-1), code.shape[-1]).to(code.dtype)
