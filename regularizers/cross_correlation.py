"""Two branches should agree in every dimension, and no two dimensions with each other."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn

from ebm.processes import Batch
from ebm.regularizers.gram import correlation, once, smaller_side
from ebm.regularizers.moments import centred, rows, transformed


@final
class CrossCorrelation(nn.Module):
    """`sum_i (1 - C_ii)^2 + redundancy sum_{i != j} C_ij^2`, `C` the cross-correlation of two branches.

    Barlow Twins: Zbontar et al. 2021, eq. 1. Codes are standardised over the batch with the biased variance plus 1e-5,
    and `C` is a mean over the batch, as the official code's batch normalisation does.
    The weight 5e-3 is the paper's; the code's default is 0.0051.

    The smaller of `batch x batch` and `D x D` is all that it takes, in time and in memory. Differentiable once.
    """

    def __init__(self, redundancy: float = 5e-3, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.redundancy, self.epsilon = redundancy, epsilon

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of one or two branches to a scalar; one is compared with itself.

        Raises ValueError on a batch of one, on branches of different shape, or on more than two.
        """
        if not 1 <= len(codes) <= 2 or codes[0].shape != codes[-1].shape:
            shapes = ", ".join(str(tuple(h.shape)) for h in codes)
            raise ValueError(
                f"CrossCorrelation compares two branches of codes of the same shape, got {shapes or 'none'}"
            )
        (a, batch), (b, _) = self._standardised(codes[0]), self._standardised(codes[-1])
        diagonal, off = correlation(a, b, batch)
        return (1 - diagonal).square().sum() + self.redundancy * off

    def _standardised(self, codes: Tensor) -> tuple[Tensor, Batch]:
        own, batch = smaller_side(*rows(self, codes))
        if transformed(own):
            return (own - own.mean(0)) / (own.var(0, correction=0) + self.epsilon).sqrt(), batch
        return _Standardised.apply(own, self.epsilon, batch.counts, batch.rank), batch


class _Standardised(torch.autograd.Function):
    """`(codes - mean) / sqrt(var + epsilon)`, `(n, D) -> (n, D)`, which keeps its answer alone for its gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, epsilon: float, counts: tuple[int, ...], rank: int) -> Tensor:
        ctx.batch = batch = Batch(counts, rank)
        answer = centred(own, batch)
        scale = (batch.mean(answer.square()) + epsilon).rsqrt()
        answer.mul_(scale)
        ctx.save_for_backward(answer, scale)
        return answer

    @staticmethod
    def backward(ctx: Any, *slopes: Any) -> Any:
        once()
        (answer, scale), (slope,) = ctx.saved_tensors, slopes
        along = ctx.batch.mean(slope * answer)
        return (slope - ctx.batch.mean(slope)).addcmul_(answer, -along).mul_(scale), None, None, None
