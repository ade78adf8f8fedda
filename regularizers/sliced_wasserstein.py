"""A code should be standard normal, by how far its samples would have to move along random directions."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from ebm.regularizers.slices import SlicedTest


@final
class SlicedWasserstein(SlicedTest):
    """`W_2^2 = mean_i (x_i - q_i)^2 + 1 - mean_i q_i^2` from N(0, 1), `x_i` sorted, mean over unit directions.

    `q_i = N integral_{(i - 1)/N}^{i/N} Phi^-1(u) du`, the mean of the i-th of N equal shares of N(0, 1), which makes
    it the exact distance of the samples from N(0, 1) (Bonneel et al. 2015 for slices; Villani 2003).
    Codes that regularize by it, such as VISReg's, put the quantile `Phi^-1(i / (N + 1))` in the place of `q_i`, so
    that N samples at those quantiles cost them nothing, and have terms of their own for mean and scale: here both are
    in it.
    """

    def statistic(self, samples: Tensor) -> Tensor:
        shares = _shares(samples.shape[-1])
        missed = (1 - shares.square().mean()).to(samples)
        return (samples.sort(-1).values - shares.to(samples)).square().mean(-1) + missed


def _shares(n: int) -> Tensor:
    """Means `(n,)` of n equal shares of N(0, 1), in double precision: n times differences of order 1 / n."""
    edges = torch.special.ndtri(torch.arange(n + 1, dtype=torch.float64) / n)
    densities = (-edges.square() / 2).exp() / math.sqrt(2 * math.pi)
    return n * (densities[:-1] - densities[1:])
