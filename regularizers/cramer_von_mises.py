"""A code should be standard normal, by its distribution function along random directions."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from ebm.regularizers.slices import SlicedTest


@final
class SlicedCramerVonMises(SlicedTest):
    """`1 / 12N + sum_i ((2i - 1) / 2N - Phi(x_i))^2`, `x_i` the sorted codes along a direction, mean over directions.

    `N integral (F_N - Phi)^2 dPhi`, the statistic of Cramer 1928 and von Mises 1931 against N(0, 1); as a
    regularizer: LeJEPA (Balestriero and LeCun 2025, section 4.2.2). Codes far out have next to no gradient: Phi is flat
    there.
    """

    def statistic(self, samples: Tensor) -> Tensor:
        n = samples.shape[-1]
        middles = (torch.arange(n, device=samples.device, dtype=samples.dtype) + 0.5) / n
        return 1 / (12 * n) + (torch.special.ndtr(samples.sort(-1).values) - middles).square().sum(-1)
