"""Pairs that match: two random views of the same image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any, cast, final

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
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


@final
class TwoViews(pl.LightningDataModule):
    """Batches `(x, y)` of two views of each image, made on the device by random `augmentations`.

    `augmentations` are modules that take and return images `(batch, channels, height, width)`, such as kornia's; those
    of y may differ (`augmentations_y`). Images that are held out get views too, the same ones at each validation.
    """

    def __init__(
        self,
        source: Source,
        augmentations: Sequence[nn.Module],
        augmentations_y: Sequence[nn.Module] | None = None,
        batch_size: int = 256,
        workers: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.source, self.batch_size, self.workers = source, batch_size, workers
        self.to_x = nn.Sequential(*augmentations)
        self.to_y = nn.Sequential(*(augmentations if augmentations_y is None else augmentations_y))
        self.sampler: Shuffled | None = None

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
        """Images without augmentation, with their labels, in order: for probes."""
        rows = range(_count(self.parts[split]))
        chunks = [list(rows[i : i + self.batch_size]) for i in range(0, len(rows), self.batch_size)]
        return DataLoader(self.parts[split], None, sampler=chunks, generator=torch.Generator())

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> tuple[Tensor, Tensor]:
        if self.trainer is not None and self.trainer.training:
            assert self.sampler is not None
            self.sampler.done = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready + 1
            return self.views(batch[0])
        with torch.random.fork_rng([batch[0].device] if batch[0].is_cuda else []):
            torch.manual_seed(0)
            return self.views(batch[0])

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

    @torch.no_grad()
    def views(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Two views of each image."""
        x, y = self.to_x(images), self.to_y(images)
        if x.shape != y.shape or len(x) != len(images):
            raise ValueError(
                f"the two views of images {tuple(images.shape)} have shapes {tuple(x.shape)} and {tuple(y.shape)}: end"
                " both lists of augmentations with the same size, one view for each image"
            )
        return x, y

    def _check(self) -> None:
        if _count(self.parts["train"]) == 0:
            raise ValueError(f"{self.source} has no image to train on")
        images, _ = self.parts["train"][[0, 1][: _count(self.parts["train"])]]
        if images.ndim != 4 or not images.is_floating_point():
            raise ValueError(
                f"{self.source} must give images (batch, channels, height, width) of floating point in [0, 1], got"
                f" {tuple(images.shape)} of {images.dtype}"
            )
        if not bool(images.isfinite().all()):
            raise ValueError(f"{self.source} holds pixels that are NaN or infinite")
        self.views(images)


def _count(rows: Dataset[Batch]) -> int:
    return len(cast("Sized", rows))
