"""Images that the `datasets` library can load: from its hub, from parquet files or from folders of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import datasets
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from ebm.data.source import Batch, Source, Split

MODES = {1: "L", 3: "RGB"}


@final
@dataclass(frozen=True)
class Images(Source):
    """A dataset by the name that `datasets.load_dataset` takes: on its hub, or a folder of parquet files or pictures.

    The columns of images and labels are found by their type unless named. Pictures become RGB, or grey with `channels`
    1, and are resized to `size` x `size` where one is given; without it they must all be of one size. If the data
    has no test split, the share `held_out` of its train split becomes one, the same at each call.
    `in_memory` decodes all pictures once, at one byte a value; else each is decoded when it is read.
    """

    path: str
    image: str | None = None
    label: str | None = None
    size: int | None = None
    channels: int = 3
    test_split: str = "test"
    held_out: float = 0.2
    in_memory: bool = True

    def __post_init__(self) -> None:
        if self.channels not in MODES:
            raise ValueError(f"channels must be 1 (grey) or 3 (RGB), got {self.channels}")

    def load(self, split: Split) -> Dataset[Batch]:
        rows = self._rows(split)
        image = self.image or _column(rows, datasets.Image, "images", self.path)
        label = self.label or _column(rows, datasets.ClassLabel, "labels", self.path)
        for name in (image, label):
            if name not in rows.column_names:
                raise ValueError(f"{self.path} has no column {name!r}, only {', '.join(rows.column_names)}")
        pictures = _Pictures(rows, image, label, self.size, self.channels)
        if not self.in_memory:
            return pictures
        parts = [pictures.bytes(range(i, min(i + 1024, len(rows)))) for i in range(0, len(rows), 1024)]
        _check_sizes([(images.shape[3], images.shape[2]) for images, _ in parts])
        return _Decoded(torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts]))

    def _rows(self, split: Split) -> Any:
        try:
            found = datasets.load_dataset(self.path)
        except Exception as error:  # the library raises many kinds, none of which names the setting that is wrong
            raise ValueError(
                f"the dataset {self.path!r} could not be loaded: {error}. Give a folder of parquet files or pictures,"
                " or a name on the hub if this machine can reach it"
            ) from error
        if "train" not in found:
            raise ValueError(f"the dataset {self.path!r} has no train split, only {', '.join(found)}")
        if self.test_split in found:
            return found["train" if split == "train" else self.test_split]
        return found["train"].train_test_split(self.held_out, seed=0)[split]


class _Pictures(Dataset[Batch]):
    """Pictures decoded as they are read."""

    def __init__(self, rows: Any, image: str, label: str, size: int | None, channels: int) -> None:
        self.rows, self.image, self.label = rows, image, label
        self.size, self.mode = size, MODES[channels]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        images, labels = self.bytes(rows)
        return images.float() / 255, labels

    def bytes(self, rows: Sequence[int]) -> Batch:
        """The batch with pictures as bytes."""
        table = self.rows[list(rows)]
        pictures = [picture.convert(self.mode) for picture in table[self.image]]
        if self.size is not None:
            pictures = [picture.resize((self.size, self.size)) for picture in pictures]
        _check_sizes([picture.size for picture in pictures])
        arrays = np.stack([np.asarray(picture) for picture in pictures])
        images = torch.from_numpy(arrays).reshape(len(pictures), *arrays.shape[1:3], -1).movedim(-1, 1)
        return images.contiguous(), torch.tensor(table[self.label])


class _Decoded(TensorDataset):
    """Pictures held as bytes."""

    def __getitem__(self, rows: Sequence[int]) -> tuple[Tensor, ...]:
        images, labels = (tensor[rows] for tensor in self.tensors)
        return images.float() / 255, labels


def _check_sizes(sizes: Sequence[tuple[int, int]]) -> None:
    if len(set(sizes)) > 1:
        raise ValueError(
            f"the pictures have different sizes, such as {sorted(set(sizes))[:3]}: set `size` to resize them"
        )


def _column(rows: Any, kind: type, what: str, path: str) -> str:
    found = [name for name, feature in rows.features.items() if isinstance(feature, kind)]
    if len(found) == 1:
        return found[0]
    columns = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in rows.features.items())
    if what == "labels" and not found and "label" in rows.column_names:
        return "label"
    problem = f"{len(found)} columns" if found else "no column"
    setting = "image" if what == "images" else "label"
    raise ValueError(f"{path} has {problem} of {what}; its columns are {columns}: name the one to use with `{setting}`")
