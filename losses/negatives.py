"""The other samples of a batch, taken as wrong answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ebm.free_energy import FreeEnergy
from ebm.processes import Batch

T = TypeVar("T")

HALF = (torch.float16, torch.bfloat16)
ENERGIES_AT_ONCE = 2**24  # 4,096 x 4,096, 64 MiB in single precision


class Contrast(NamedTuple):
    """The energies of the n samples of this process with each of the N answers in the whole batch."""

    pairs: Tensor  # (n, N)
    own: Tensor  # (n,), the column of each sample's right answer
    batch: Batch

    @property
    def right(self) -> Tensor:
        """The energies `(n,)` of the right answers."""
        return picked(self.pairs, self.own)

    @property
    def wrong(self) -> Tensor:
        """The energies `(n, N)` of wrong answers, with infinity in the place of the right one."""
        return without(self.pairs, self.own)


class Views(NamedTuple):
    """The 2n codes of this process, those of x and then those of y, and the 2N of the whole batch to tell apart."""

    codes: Tensor  # (2n, ...)
    everyone: Tensor  # (2N, ...)
    itself: Tensor  # (2n,), where each stands among everyone
    other: Tensor  # (2n,), where its other view does
    batch: Batch

    def mean(self, values: Tensor) -> Tensor:
        """The mean over the 2N codes of the whole batch of what each of these 2n has."""
        return self.batch.mean(values.view(2, -1).mean(0))


def contrast(loss: nn.Module, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Contrast:
    """Each x of this process against every y of the whole batch; raises as `checked_batch` does."""
    batch = checked_batch(loss, hx, hy)
    return Contrast(F.pairs(hx, batch.gather(hy)), own_columns(batch, hx), batch)


def both_views(loss: nn.Module, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Views:
    """Each code of this process, of either side, against every code of the batch; raises as `checked_batch` does."""
    batch = checked_batch(loss, hx, hy)
    hx, hy = in_single_precision(F, hx, hy)
    x = own_columns(batch, hx)
    y = x + batch.size
    everyone = torch.cat([batch.gather(hx), batch.gather(hy)])
    return Views(torch.cat([hx, hy]), everyone, torch.cat([x, y]), torch.cat([y, x]), batch)


def checked_batch(loss: nn.Module, hx: Tensor, hy: Tensor) -> Batch:
    """The whole batch; raises ValueError unless its rows match and there is at least one wrong answer for each."""
    batch = matching_batch(loss, hx, hy)
    if batch.size < 2:
        raise ValueError(
            f"{type(loss).__name__} needs at least 2 samples to contrast, got a batch of {batch.size}: raise"
            " `batch_size`, or drop the last batch of an epoch if it is that small"
        )
    return batch


def matching_batch(loss: nn.Module, hx: Tensor, hy: Tensor) -> Batch:
    """The whole batch, for losses that need no other sample in it; raises ValueError unless its rows match."""
    if len(hx) != len(hy):
        name = type(loss).__name__
        raise ValueError(f"{name} needs codes whose rows match, got {len(hx)} rows of hx and {len(hy)} of hy")
    return Batch.of(hx)


def in_single_precision(F: FreeEnergy, *codes: Tensor) -> tuple[Tensor, ...]:
    """Codes in half precision as single, unless the weights of the energy are in half too.

    A code stands in many energies, by way of several tensors, and each would round what it adds to its gradient.
    """
    if any(weight.dtype in HALF for weight in F.parameters()):
        return codes
    return tuple(h.float() if h.dtype in HALF else h for h in codes)


def own_columns(batch: Batch, hx: Tensor) -> Tensor:
    """Where the n samples of this process stand among the N of the whole batch."""
    return torch.arange(batch.start, batch.start + len(hx), device=hx.device)


def picked(energies: Tensor, columns: Tensor) -> Tensor:
    """The energy of each row in its column, `(n, N), (n,) -> (n,)`."""
    return energies.gather(1, columns[:, None])[:, 0]


def without(energies: Tensor, *columns: Tensor) -> Tensor:
    """The energies with infinity in the columns `(n,)` of each row, which takes those answers away."""
    return energies.scatter(1, torch.stack(columns, 1), torch.inf)


def by_rows(fn: Callable[..., Tensor], rows: Sequence[Tensor], answers: int, chunk: int | None) -> Tensor:
    """`fn(*rows)`, one number for each of n rows, computed as `by_chunks` does."""
    return torch.cat(by_chunks(fn, rows, answers, chunk))


def by_chunks(fn: Callable[..., T], rows: Sequence[Tensor], answers: int, chunk: int | None) -> list[T]:
    """`fn` of at most `chunk` of the rows `(n, ...)` at a time, in order, where a row has energies with N `answers`.

    By default the energies that stand in memory at once are 4,096 x 4,096 or fewer, which takes smaller batches whole.
    Otherwise the backward pass computes those of each chunk again, by running `fn` on it a second time: an energy whose
    latent is inferred is then inferred twice. `fn` must not call on other processes, which might not do so too.
    """
    if chunk is not None and chunk < 1:
        raise ValueError(f"`chunk` is the number of rows of energies to compute at once, at least 1, got {chunk}")
    size = chunk or max(1, ENERGIES_AT_ONCE // answers)
    if len(rows[0]) <= size:
        return [fn(*rows)]
    parts = zip(*(tensor.split(size) for tensor in rows), strict=True)
    return [checkpoint(fn, *part, use_reentrant=False) for part in parts]
