"""The other samples of a batch, taken as wrong answers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ebm.free_energy import FreeEnergy
from ebm.processes import Batch


class Contrast(NamedTuple):
    """The energies of the n samples of this process with each of the N answers in the whole batch."""

    pairs: Tensor  # (n, N)
    own: Tensor  # (n,), the column of each sample's right answer
    batch: Batch

    @property
    def right(self) -> Tensor:
        """The energies `(n,)` of the right answers."""
        return self.pairs.gather(1, self.own[:, None])[:, 0]

    @property
    def wrong(self) -> Tensor:
        """The energies `(n, N)` of wrong answers, with infinity in the place of the right one."""
        return self.pairs.scatter(1, self.own[:, None], torch.inf)


def contrast(loss: nn.Module, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Contrast:
    """Each x of this process against every y of the whole batch; raises as `checked_batch` does."""
    batch = checked_batch(loss, hx, hy)
    return Contrast(F.pairs(hx, batch.gather(hy)), own_columns(batch, hx), batch)


def checked_batch(loss: nn.Module, hx: Tensor, hy: Tensor) -> Batch:
    """The whole batch; raises ValueError unless its rows match and there is at least one wrong answer for each."""
    name = type(loss).__name__
    if len(hx) != len(hy):
        raise ValueError(f"{name} needs codes whose rows match, got {len(hx)} rows of hx and {len(hy)} of hy")
    batch = Batch.of(hx)
    if batch.size < 2:
        raise ValueError(
            f"{name} needs at least 2 samples to contrast, got a batch of {batch.size}: raise `batch_size`, or drop the"
            " last batch of an epoch if it is that small"
        )
    return batch


def own_columns(batch: Batch, hx: Tensor) -> Tensor:
    """Where the n samples of this process stand among the N of the whole batch."""
    return torch.arange(batch.start, batch.start + len(hx), device=hx.device)
