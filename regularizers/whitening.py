"""Two views should agree once neither can shrink, stretch or repeat a feature."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.spectra import matching, missing, on_sphere, whitened


@final
class WhitenedDistance(nn.Module):
    """`mean_i 2 - 2 cos(w(x_i), w(y_i))`, `w` whitens each branch; the mean over pairs of branches if there are more.

    W-MSE: Ermolov, Siarohin, Sangineto, Sebe 2021. It is the whole of that method, agreement included.
    Whitening is by the Cholesky factor of the covariance over `batch - 1`, shrunk to `(1 - epsilon) cov + epsilon I`.
    The default of the official code is an epsilon of 0, with which codes at one point give NaN.

    `size` whitens sub-batches of at least that many rows each by itself, as the official code does (128 rows); the
    default is the batch as a whole. That code permutes rows before it slices them, which in a batch that was shuffled
    makes no difference, and can repeat that, which is left out.

    It takes more rows than features: with fewer, any codes are as far apart as any others once whitened. Being of one
    triangle for each branch, its whitening has no form in the rows alone, and its cost is `D^2` whatever their number.
    """

    def __init__(self, size: int | None = None, epsilon: float = 1e-4) -> None:
        super().__init__()
        if size is not None and size < 2:
            raise ValueError(f"a sub-batch of {size} rows has no covariance: give a size of at least 2, or None")
        self.size, self.epsilon = size, epsilon

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of two or more branches of one shape, whose rows match, to a scalar.

        Raises ValueError on a batch of one, on one branch, which always agrees with itself, or on different shapes.
        """
        views = matching(self, codes)
        if len(views) < 2:
            raise ValueError("WhitenedDistance compares the rows of at least two branches, got one: give it both views")
        directions = torch.stack([on_sphere(self._whitened(h)) for h in views])
        # What all pairs have in common, without a loop over them: |sum_v u_v|^2 - sum_v |u_v|^2.
        shared = directions.sum(0).square().sum() - directions.square().sum()
        cosine = shared / (len(views) * (len(views) - 1) * len(views[0]))
        return missing(2 * cosine, 2).to(views[0].dtype)

    def _whitened(self, codes: Tensor) -> Tensor:
        parts = 1 if self.size is None else max(1, len(codes) // self.size)
        return torch.cat([whitened(part, self.epsilon) for part in codes.tensor_split(parts)])
