"""Sums whose terms together would not fit in memory, or not in the cache."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.utils.checkpoint import checkpoint

SIZE = 2**20
"""How many numbers a block's largest tensor should hold: 4 MiB in single precision."""


def sum_over_blocks(term: Callable[..., tuple[Tensor, ...]], numbers: int, *rows: Tensor) -> tuple[Tensor, ...]:
    """`sum_b term(*rows_b)` over blocks b of the first axis, which the tensors share; `numbers` is what a row takes.

    Where there are several blocks, each is computed once more on the way back, and only its sums are kept.
    """
    blocks = list(zip(*(tensor.split(max(1, SIZE // numbers)) for tensor in rows), strict=True))
    if len(blocks) == 1:
        return term(*rows)
    first, *others = [checkpoint(term, *block, use_reentrant=False, preserve_rng_state=False) for block in blocks]
    sums = first
    for values in others:
        sums = tuple(a + b for a, b in zip(sums, values, strict=True))
    return sums
