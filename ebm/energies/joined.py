"""Two variables as the one input of a network."""

from __future__ import annotations

import torch
from torch import Tensor


def joined(a: Tensor, b: Tensor) -> Tensor:
    """The features of both, `(*batch, m)` and `(*batch, n)` to `(*batch, m + n)`; leading axes broadcast."""
    batch = torch.broadcast_shapes(a.shape[:-1], b.shape[:-1])
    return torch.cat([a.expand(*batch, -1), b.expand(*batch, -1)], -1)
