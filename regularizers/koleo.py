"""Every code should be far from its nearest neighbour."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ebm.regularizers.blocks import SIZE
from ebm.regularizers.moments import branches


@final
class KoLeo(nn.Module):
    """`-mean_n log(min_{m != n} |h_n - h_m| + epsilon)` of codes on the unit sphere, mean over branches.

    Sablayrolles et al. 2019, from the entropy estimate of Kozachenko and Leonenko 1987, whose logarithm is of N times
    the distance: that paper, and DINOv2's and its code, leave the constant `-log N` out, and so do we. Negative where
    neighbours are more than one apart. Epsilon 1e-8 is that of DINOv2, which adds it to each difference too and sums
    over its two crops. It sees directions alone: nothing of the length of a code.
    """

    def __init__(self, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        views = branches(self, codes)
        with torch.autocast(views[0].device.type, enabled=False):
            return torch.stack([self._crowding(normalize(h, dim=1)) for h in views]).mean()

    def _crowding(self, codes: Tensor) -> Tensor:
        # As a difference, and not by products: those lose half of the digits of a small distance.
        distances = torch.linalg.vector_norm(codes - codes[_nearest(codes)], dim=1)
        return -(distances + self.epsilon).log().mean()


@torch.no_grad()
def _nearest(codes: Tensor) -> Tensor:
    """The index `(N,)` of the nearest other row, a block of rows at a time: N x N need not stand in memory."""
    centred = codes - codes.mean(0)  # rounding in products sees a common shift, distances do not
    halves = centred.square().sum(1) / 2
    everyone = torch.arange(len(codes), device=codes.device)
    rows = max(1, SIZE // len(codes))
    found = []
    for block, own in zip(centred.split(rows), everyone.split(rows), strict=True):
        nearness = (block @ centred.T - halves).masked_fill(own[:, None] == everyone, -torch.inf)
        found.append(nearness.argmax(1))
    return torch.cat(found)
