"""The neighbours of discrete data, which differ from it in one entry."""

from __future__ import annotations

import torch
from torch import Tensor


def flips(y: Tensor) -> Tensor:
    """`y` (n, ...) of zeros and ones with each of its D entries flipped in turn, `(D, n, ...)`."""
    here = torch.eye(y[0].numel(), dtype=y.dtype, device=y.device).view(-1, 1, *y.shape[1:])
    return y + here * (1 - 2 * y)


def replacements(y: Tensor) -> Tensor:
    """One-hot `y` (n, D, K) with each of its D entries set to each of the K values in turn, `(D, K, n, D, K)`."""
    sites, values = y.shape[1:]
    here = torch.eye(sites, dtype=torch.bool, device=y.device)[:, None, None, :, None]
    return torch.where(here, torch.eye(values, dtype=y.dtype, device=y.device)[None, :, None, None, :], y)


def check_binary(name: str, y: Tensor) -> None:
    """Raise ValueError unless all entries are 0 or 1; looked at where that is free, which is on a CPU."""
    if y.device.type == "cpu" and not torch.compiler.is_compiling() and not bool(((y == 0) | (y == 1)).all()):
        raise ValueError(
            f"{name} is for entries that are 0 or 1, got values from {y.min():g} to {y.max():g}: round the data, or"
            " take a loss for continuous data, such as DenoisingScoreMatching"
        )
