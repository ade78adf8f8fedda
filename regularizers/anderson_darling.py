"""A code should be standard normal in its tails too, along random directions."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ebm.regularizers.slices import SlicedTest


@final
class SlicedAndersonDarling(SlicedTest):
    """`-N - 1/N sum_i (2i - 1) (log Phi(x_i) + log Phi(-x_{N + 1 - i}))`, `x_i` sorted, mean over directions.

    `N integral (F_N - Phi)^2 / (Phi (1 - Phi)) dPhi`, the statistic of Anderson and Darling 1952 against N(0, 1); as
    a regularizer: LeJEPA (Balestriero and LeCun 2025, section 4.2.2). What lies far out is pulled back by its distance.
    """

    def statistic(self, samples: Tensor) -> Tensor:
        n = samples.shape[-1]
        odd = 2 * torch.arange(n, device=samples.device, dtype=samples.dtype) + 1
        ordered = samples.sort(-1).values
        below, above = _LogNormal.apply(ordered), _LogNormal.apply(-ordered.flip(-1))
        # One of -N to each term: they nearly cancel it, one by one.
        return -(1 + odd / n * (below + above)).sum(-1)


class _LogNormal(torch.autograd.Function):
    """`log Phi(x)`, differentiable once. torch's own derivative takes squares of x from one another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.special.log_ndtr(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return slope * math.sqrt(2 / math.pi) / torch.special.erfcx(-math.sqrt(0.5) * x)
