"""Pairs of variables that go together, in batches that a run can take up again where it stopped."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sized
from typing import Any, cast, final

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ebm.data.source import Batch, Source, Split


@final
class Shuffled(Sampler[list[int]]):
    """Batches of row numbers, in an order that the seed and the epoch alone decide, so that a run can resume."""

    def __init__(self, rows: int, batch_size: int, seed: int) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0
        self.skip = 0  # batches of the next epoch that were done before
        self.done = 0  # batches of this epoch that were done
        self.batch_size = min(batch_size, rows)

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.rows // self.batch_size  # a smaller last batch would change what batch statistics mean

    def __iter__(self) -> Iterator[list[int]]:
        mixed = int(np.random.SeedSequence([self.seed, self.epoch]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(mixed)  # which reads 32 bits of its seed, and no more
        order = torch.randperm(self.rows, generator=generator)[: len(self) * self.batch_size]
        skip, self.skip = self.skip, 0
        yield from order.view(len(self), self.batch_size)[skip:].tolist()


class _Resumable(DataLoader[Batch]):
    """A loader that can go on in the middle of an epoch. The two methods tell Lightning so.

    Its position is in the data module's state, since Lightning restores a loader's after it has begun to read it.
    """

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


class Pairs(pl.LightningDataModule, ABC):
    """Batches `(x, y)`, made on the device of rows of a source; the same ones at each validation.

    With `labels` batches are `(x, y, labels)`, for losses that are `Supervised`.
    """

    def __init__(self, source: Source, batch_size: int = 256, workers: int = 0, labels: bool = False) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.source, self.batch_size, self.workers, self.labels = source, batch_size, workers, labels
        self.sampler: Shuffled | None = None

    @abstractmethod
    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """`x` and `y` for each row, `(batch, ...)` both."""

    @abstractmethod
    def check(self, rows: Tensor) -> None:
        """Raise ValueError unless pairs can be made of rows such as these."""

    def setup(self, stage: str) -> None:
        if self.sampler is None:
            self.parts = {split: self.source.load(split) for split in ("train", "test")}
            self._check()
            self.sampler = Shuffled(_count(self.parts["train"]), self.batch_size, torch.initial_seed() % 2**31)

    def train_dataloader(self) -> DataLoader[Batch]:
        workers = self.workers
        return _Resumable(
            self.parts["train"],
            None,
            sampler=self.sampler,
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # else each pass draws from the generator that augmentations draw from
        )

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.labelled("test")

    def labelled(self, split: Split) -> DataLoader[Batch]:
        """Rows as they are, with their labels, in order: for probes."""
        rows = range(_count(self.parts[split]))
        chunks = [list(rows[i : i + self.batch_size]) for i in range(0, len(rows), self.batch_size)]
        return DataLoader(self.parts[split], None, sampler=chunks, generator=torch.Generator())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        if self.trainer is not None and self.trainer.training:
            assert self.sampler is not None
            self.sampler.done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready + 1
            return self._told(batch)
        with torch.random.fork_rng([batch[0].device] if batch[0].is_cuda else []):
            torch.manual_seed(0)
            return self._told(batch)

    def state_dict(self) -> dict[str, Any]:
        if self.trainer is None or self.sampler is None:
            return {}
        batches = int(self.trainer.num_training_batches)
        epoch, done = divmod(self.sampler.epoch * batches + self.sampler.done, batches)
        return {"epoch": epoch, "done": done}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if self.sampler is not None:
            # The epoch too: workers begin to read before the trainer says which one it is.
            self.sampler.epoch, self.sampler.skip = state_dict.get("epoch", 0), state_dict.get("done", 0)

    def _told(self, batch: Batch) -> Batch:
        rows, labels = batch
        return (*self.pairs(rows), labels) if self.labels else self.pairs(rows)

    def _check(self) -> None:
        if _count(self.parts["train"]) == 0:
            raise ValueError(f"{self.source} has nothing to train on")
        self.check(self.parts["train"][[0, 1][: _count(self.parts["train"])]][0])


def _count(rows: Dataset[Batch]) -> int:
    return len(cast("Sized", rows))
