"""What is said of each code by itself, and then averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ebm.processes import mean
from ebm.regularizers.moments import some


def averages(regularizer: nn.Module, codes: Sequence[Tensor], value: Callable[[Tensor], Tensor]) -> Tensor:
    """The mean of `value`, `(n, D) -> (n,)`, over the rows of the whole batch, for each branch: `(branches,)`.

    In single precision or better. Raises ValueError unless each branch holds rows of features.
    """
    return torch.stack([mean(value(_rows(regularizer, h))) for h in some(regularizer, codes)])


def _rows(regularizer: nn.Module, codes: Tensor) -> Tensor:
    if codes.ndim != 2:
        name = type(regularizer).__name__
        raise ValueError(f"{name} reads codes of shape (batch, features), got {tuple(codes.shape)}: flatten them first")
    return codes.float() if codes.dtype in (torch.float16, torch.bfloat16) else codes
