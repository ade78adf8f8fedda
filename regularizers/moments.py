"""Moments of a batch of codes, always in single precision or better."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ebm.processes import Batch


def branches(regularizer: nn.Module, codes: Sequence[Tensor]) -> list[Tensor]:
    """The codes of each branch in the whole batch, `checked`; raises ValueError if there are none."""
    return [checked(regularizer, h) for h in some(regularizer, codes)]


def some(regularizer: nn.Module, codes: Sequence[Tensor]) -> Sequence[Tensor]:
    """The codes of each branch as they came; raises ValueError if there are none."""
    if not codes:
        raise ValueError(f"{type(regularizer).__name__} needs the codes of at least one branch, got none")
    return codes


def checked(regularizer: nn.Module, codes: Tensor) -> Tensor:
    """Codes `(N, D)` of the whole batch, of all processes, in single precision or better; raises as `rows` does."""
    own, batch = rows(regularizer, codes)
    return batch.gather(own)


def rows(regularizer: nn.Module, codes: Tensor) -> tuple[Tensor, Batch]:
    """The codes `(n, D)` of this process, in single precision or better, and the batch that they are rows of.

    Raises ValueError unless they are at least two rows of features, over all processes.

    A second moment of half-precision codes overflows at a standard deviation of a few units.
    """
    name = type(regularizer).__name__
    if codes.ndim != 2:
        raise ValueError(f"{name} reads codes of shape (batch, features), got {tuple(codes.shape)}: flatten them first")
    batch = Batch.of(codes)
    if batch.size < 2:
        raise ValueError(
            f"{name} needs at least 2 samples to see how codes vary, got a batch of {batch.size}: raise `batch_size`,"
            " or drop the last batch of an epoch if it is that small"
        )
    return codes.float() if codes.dtype in (torch.float16, torch.bfloat16) else codes, batch


def centred(own: Tensor, batch: Batch) -> Tensor:
    """Rows `(n, D)` less the mean of the whole batch, for what a shift of all codes changes nothing of.

    The mean has no share in the gradient then. It is taken off twice: it is rounded, and of codes that are close
    together far from zero what rounding leaves of it is not small beside them.
    """
    less = own - batch.mean(own.detach())
    return less.sub_(batch.mean(less.detach()))


def second_moment(a: Tensor, b: Tensor) -> Tensor:
    """`sum_n a_n b_n'`, `(N, D), (N, D) -> (D, D)`, in the precision of its arguments even under autocast."""
    with torch.autocast(a.device.type, enabled=False):
        return a.T @ b


def transformed(codes: Tensor) -> bool:
    """Whether `torch.func` is at work on them, as in `vmap`, which cannot look into the autograd functions here."""
    return not torch.compiler.is_compiling() and torch._C._functorch.is_functorch_wrapped_tensor(codes)
