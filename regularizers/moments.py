"""Moments of a batch of codes, always in single precision or better."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ebm.processes import gather


def branches(regularizer: nn.Module, codes: Sequence[Tensor]) -> list[Tensor]:
    """The codes of each branch in the whole batch, `checked`; raises ValueError if there are none."""
    if not codes:
        raise ValueError(f"{type(regularizer).__name__} needs the codes of at least one branch, got none")
    return [checked(regularizer, h) for h in codes]


def checked(regularizer: nn.Module, codes: Tensor) -> Tensor:
    """Codes `(N, D)` of the whole batch, of all processes, in single precision or better.

    Raises ValueError unless they are at least two rows of features.

    A second moment of half-precision codes overflows at a standard deviation of a few units.
    """
    name = type(regularizer).__name__
    if codes.ndim != 2:
        raise ValueError(f"{name} reads codes of shape (batch, features), got {tuple(codes.shape)}: flatten them first")
    codes = gather(codes.float() if codes.dtype in (torch.float16, torch.bfloat16) else codes)
    if len(codes) < 2:
        raise ValueError(
            f"{name} needs at least 2 samples to see how codes vary, got a batch of {len(codes)}: raise `batch_size`,"
            " or drop the last batch of an epoch if it is that small"
        )
    return codes


def second_moment(a: Tensor, b: Tensor) -> Tensor:
    """`sum_n a_n b_n'`, `(N, D), (N, D) -> (D, D)`, in the precision of its arguments even under autocast."""
    with torch.autocast(a.device.type, enabled=False):
        return a.T @ b


def off_diagonal_square(matrix: Tensor) -> Tensor:
    """The sum of the squares of all entries off the diagonal."""
    return matrix.square().fill_diagonal_(0).sum()
