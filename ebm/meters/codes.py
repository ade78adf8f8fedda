"""What every meter of codes asks of them, asked once."""

from __future__ import annotations

import torch
from torch import Tensor


def checked(codes: Tensor, rows: int = 2) -> Tensor:
    """The codes `(N, D)` in float64 on their device, without their graph; the argument itself stays as it is.

    Raises ValueError for another shape, no feature, fewer than `rows` rows, or numbers that are not finite.
    """
    if codes.ndim != 2 or not codes.shape[1]:
        raise ValueError(
            f"a meter reads codes of shape (batch, features), got {tuple(codes.shape)}: flatten what else there is"
        )
    if len(codes) < rows:
        raise ValueError(f"this meter needs at least {rows} codes, got a batch of {len(codes)}: give it more samples")
    codes = codes.detach().to(torch.float64)
    lost = int((~codes.isfinite().all(1)).sum())
    if lost:
        raise ValueError(
            f"a meter reads finite codes, got {lost} of {len(codes)} rows with NaN or infinity: look for where the"
            " network diverged, or for an overflow of half precision"
        )
    return codes


def checked_pair(x: Tensor, y: Tensor, rows: int = 2) -> tuple[Tensor, Tensor]:
    """Two `checked` codes `(N, D)` and `(N, E)` whose rows belong together.  Raises ValueError for unlike counts."""
    x, y = checked(x, rows), checked(y, rows)
    if len(x) != len(y):
        raise ValueError(f"row i of one code belongs to row i of the other, got {len(x)} and {len(y)} rows")
    return x, y
