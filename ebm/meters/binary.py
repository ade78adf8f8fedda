"""What an energy of binary data knows of each entry, told all others: there it needs no normaliser."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm.meters.landscape import Scores
from ebm.sites import check_binary, flips

ROWS = 2**15  # neighbours evaluated at once


@torch.no_grad()
def entries(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """How well `p(y_d | the rest of y) = 1 / (1 + exp(F(y) - F(y with entry d flipped)))` foretells held-out entries.

    `bits` is the mean of `-log2 p` over the entries of codes `hy` (N, D) of zeros and ones, 1 for an energy that knows
    nothing; `errors` is the share of entries of which the other value is held for likelier (ties half). Raises
    ValueError for other data.
    """
    if hy.ndim != 2:
        raise ValueError(f"entries of binary data are read off codes (batch, features), got {tuple(hy.shape)}")
    check_binary("the meter `entries`", hy)
    parts = max(1, hy.numel() // ROWS)
    rises = [_rises(F, x, y) for x, y in zip(hx.tensor_split(parts), hy.tensor_split(parts), strict=True)]
    rise = torch.cat(rises).double()
    return {
        "bits": float(softplus(-rise).mean() / math.log(2)),
        "errors": float((rise < 0).double().mean() + (rise == 0).double().mean() / 2),
    }


def _rises(F: Scores, hx: Tensor, hy: Tensor) -> Tensor:
    """By how much the energy rises when an entry is flipped, `(n, D)`."""
    count = hy.shape[1]
    flipped = F(hx.repeat(count, 1), flips(hy).flatten(0, 1)).view(count, -1)
    return (flipped - F(hx, hy)).T
