"""A batch that is spread over processes, each of which holds some of its rows.

A term of training is of the whole batch: its value is the same on every process, and the average over processes of the
gradients, which is what data-parallel training takes, is the gradient of the whole batch. That is what the functions
here keep to; with one process they cost nothing. They are collective: every process has to call them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.distributed as dist
from torch import Tensor

_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """Within it every process takes its own rows for the whole batch, as where one process alone computes a term."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def several() -> bool:
    """Whether there are other processes to share a batch with."""
    return not _alone and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@final
@dataclass(frozen=True)
class Batch:
    """How the rows of a batch lie over the processes: `counts[rank]` of them on each, this one being `rank`."""

    counts: tuple[int, ...]
    rank: int = 0

    @classmethod
    def of(cls, rows: Tensor) -> Batch:
        """The batch that these `(n, ...)` are this process's rows of; with several processes it waits for them."""
        if not several():
            return cls((len(rows),))
        count = torch.tensor([len(rows)], device=rows.device)
        counts = [torch.empty_like(count) for _ in range(dist.get_world_size())]
        dist.all_gather(counts, count)
        return cls(tuple(torch.cat(counts).tolist()), dist.get_rank())

    @property
    def size(self) -> int:
        """The number of rows, N."""
        return sum(self.counts)

    @property
    def start(self) -> int:
        """Which row of the whole batch is the first of this process."""
        return sum(self.counts[: self.rank])

    def gather(self, rows: Tensor) -> Tensor:
        """All rows in order of the processes, `(n, ...) -> (N, ...)`. What a gradient sums over processes."""
        return rows if len(self.counts) == 1 else _Gather.apply(rows, self)

    def own(self, rows: Tensor) -> Tensor:
        """The rows of this process, of what was gathered: `(N, ...) -> (n, ...)`."""
        return rows if len(self.counts) == 1 else rows.narrow(0, self.start, self.counts[self.rank])

    def total(self, values: Tensor) -> Tensor:
        """The sum over processes of a tensor of one shape, as is that of a gradient through it."""
        return values if len(self.counts) == 1 else _Total.apply(values)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the N rows of the whole batch, `(n, ...) -> (...)`."""
        return values.mean(0) if len(self.counts) == 1 else self.total(values.sum(0) / self.size)


def gather(rows: Tensor) -> Tensor:
    """The rows of all processes in their order, `(n, ...) -> (N, ...)`."""
    return Batch.of(rows).gather(rows)


def mean(values: Tensor) -> Tensor:
    """The mean over the rows of all processes, `(n, ...) -> (...)`."""
    return Batch.of(values).mean(values)


def agreed(values: Tensor) -> Tensor:
    """The first process's values on every process: for what was drawn at random and has to be one draw for all."""
    if not several():
        return values
    values = values.detach().clone(memory_format=torch.contiguous_format)
    dist.broadcast(values, src=0)
    return values


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, batch: Batch) -> Tensor:
        ctx.batch = batch
        # Collectives move blocks of one size: short ones are filled up, and cut again.
        padded = rows.new_zeros(max(batch.counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        blocks = [torch.empty_like(padded) for _ in batch.counts]
        dist.all_gather(blocks, padded)
        return torch.cat([block[:count] for block, count in zip(blocks, batch.counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        return ctx.batch.own(_Total.apply(gradient)), None


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        return _Total.apply(gradient)
