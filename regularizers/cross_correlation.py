"""Two branches should agree in every dimension, and no two dimensions with each other."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.regularizers.moments import checked, off_diagonal_square, second_moment


@final
class CrossCorrelation(nn.Module):
    """`sum_i (1 - C_ii)^2 + redundancy sum_{i != j} C_ij^2`, `C` the cross-correlation of two branches.

    Barlow Twins: Zbontar et al. 2021, eq. 1. Codes are standardised over the batch with the biased variance plus 1e-5,
    and `C` is a mean over the batch, as the official code's batch normalisation does.
    The weight 5e-3 is the paper's; the code's default is 0.0051.
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
        a, b = (self._standardised(checked(self, h)) for h in (codes[0], codes[-1]))
        correlation = second_moment(a, b) / len(a)
        return (1 - correlation.diagonal()).square().sum() + self.redundancy * off_diagonal_square(correlation)

    def _standardised(self, codes: Tensor) -> Tensor:
        return (codes - codes.mean(0)) / (codes.var(0, correction=0) + self.epsilon).sqrt()
