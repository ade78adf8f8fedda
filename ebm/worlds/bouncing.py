"""Motion at constant velocity between walls that give back what hits them."""

from __future__ import annotations

import torch
from torch import Tensor


def bounced(positions: Tensor, low: Tensor | float, high: Tensor | float) -> tuple[Tensor, Tensor]:
    """Where something is that would be at `positions` without walls, and the sign of its velocity there, elementwise.

    The path is folded at the walls, as often as it meets them: nothing passes, however far a step goes.
    """
    span = high - low
    turns = torch.remainder(positions - low, 2 * span)
    return low + span - (turns - span).abs(), torch.where(turns > span, -1.0, 1.0).to(positions.dtype)


def headings(angles: Tensor) -> Tensor:
    """Unit vectors `(*batch, 2)`, down and right, of angles `(*batch,)` in whole turns."""
    return torch.stack([(2 * torch.pi * angles).sin(), (2 * torch.pi * angles).cos()], -1)
