"""Codes should lie evenly over the sphere."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ebm.regularizers.blocks import sum_over_blocks
from ebm.regularizers.moments import branches


@final
class Uniformity(nn.Module):
    """`log mean_{n != m} exp(-t |h_n - h_m|^2)` of codes on the unit sphere, mean over branches.

    Wang and Isola 2020 (section 4.1.2), with their t = 2; from 0 where all codes are one down to `-2t` or so where
    they are uniform. Their alignment is `PushDown` on a squared distance on the sphere, which is a `CosineDistance`
    of scale 2. It sees directions alone: nothing of the length of a code.
    """

    def __init__(self, t: float = 2.0) -> None:
        super().__init__()
        self.t = t

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        views = branches(self, codes)
        with torch.autocast(views[0].device.type, enabled=False):
            return torch.stack([self._log_potential(normalize(h, dim=1)) for h in views]).mean()

    def _log_potential(self, codes: Tensor) -> Tensor:
        everyone, squares = torch.arange(len(codes), device=codes.device), codes.square().sum(1)

        def potential(block: Tensor, squares_of_block: Tensor, own: Tensor) -> tuple[Tensor]:
            apart = (squares_of_block[:, None] + squares - 2 * block @ codes.T).clamp_min(0)
            return ((-self.t * apart).exp().masked_fill(own[:, None] == everyone, 0).sum(),)

        (total,) = sum_over_blocks(potential, len(codes), codes, squares, everyone)
        return total.log() - math.log(len(codes) * (len(codes) - 1))
