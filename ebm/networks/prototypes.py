"""How much a code is like each of many learned directions."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize


@final
class Prototypes(nn.Module):
    """`cos(h, w_k)` for `number` learned `w_k`, `h = body(x)`: the last layer of DINO's head and of SwAV's.

    Caron et al. 2021, appendix C: a code on the unit sphere, and a linear layer whose rows are unit vectors.
    """

    def __init__(self, body: nn.Module, features: int, number: int) -> None:
        super().__init__()
        self.body = body
        self.weight = nn.Parameter(torch.randn(number, features) / features**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """What `body` takes, to `(*batch, number)`."""
        return linear(normalize(self.body(x), dim=-1), normalize(self.weight, dim=-1))
