"""No direction of the code should have more of the variance than another."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.moments import branches
from ebm.regularizers.spectra import gram, missing


@final
class FroSSL(nn.Module):
    """`log |C / tr C|_F^2 + log r`, `C` the correlation matrix of the features, sum over branches.

    FroSSL: Skean, Dhakal, Jacobs, Sanchez Giraldo 2024, without its other term, the mean squared error of the
    views, which is `PushDown`. Minus the first is the collision entropy of the eigenvalues of `C / tr C`, at most
    `log r`, `r = min(N - 1, D)`: so it is zero for codes that are white. Features are standardised over the batch, as
    in the paper's code for two views; its later one for more divides by their length alone and leaves the mean in.
    `epsilon` is added to their biased variance (the paper has none), as batch normalisation does.
    """

    def __init__(self, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        return torch.stack([self._unevenness(h) for h in branches(self, codes)]).sum()

    def _unevenness(self, codes: Tensor) -> Tensor:
        standardised = (codes - codes.mean(0)) / (codes.var(0, correction=0) + self.epsilon).sqrt()
        correlation = gram(standardised).double() / len(codes)
        # Codes at one point have no eigenvalues to compare: these count as a single one, which is the worst there is.
        nothing = torch.finfo(correlation.dtype).eps ** 2
        rank = min(len(codes) - 1, codes.shape[1])
        square = correlation.square().sum() + nothing**2
        evenness = 2 * (correlation.trace() + nothing).log() - square.log()
        return missing(evenness, math.log(rank)).to(codes.dtype)
