"""The codes should take as many bits to tell apart as they can."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn

from ebm.regularizers.moments import branches
from ebm.regularizers.spectra import gram, missing, on_sphere


@final
class CodingRate(nn.Module):
    """`R_max - 1/2 log det(I + D / (N distortion) Z'Z)`, Z the codes on the unit sphere, mean over branches.

    The second term is the rate, in nats, of codes known up to an error of that mean square: the R of MCR2 (Yu, Chan,
    You, Song, Ma 2020), whose `epsilon^2` is `distortion`, and the total coding rate of EMP-SSL (Tong, Chen,
    Ma, LeCun 2023); so is the mean over branches. Codes are put on the sphere, as the output of
    EMP-SSL's network is, and not centred. 0.2 is the default of its official code.

    `R_max = r/2 log(1 + D / (r distortion))`, `r = min(N, D)`, is the highest rate on the sphere and depends on
    nothing but the shape: it makes zero what is white there, `Z'Z = N/D I`, or orthogonal, `ZZ' = I`, if `N < D`.
    """

    def __init__(self, distortion: float = 0.2) -> None:
        super().__init__()
        if not distortion > 0:
            raise ValueError(f"the distortion is the square of an error, larger than 0, got {distortion}")
        self.distortion = distortion

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        return torch.stack([self._unused(h) for h in branches(self, codes)]).mean()

    def _unused(self, codes: Tensor) -> Tensor:
        n, features = codes.shape
        square = gram(on_sphere(codes)).double() * (features / (n * self.distortion))
        identity = torch.eye(len(square), dtype=square.dtype, device=square.device)
        rank = len(square)
        highest = rank * math.log1p(features / (rank * self.distortion)) / 2
        return missing(torch.logdet(identity + square) / 2, highest).to(codes.dtype)
