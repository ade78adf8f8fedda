"""A part of a dataset, for trying things out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch.utils.data import Dataset

from ebm.data.source import Batch, Source, Split


@final
@dataclass(frozen=True)
class Subset(Source):
    """So many of another source's training and test images, drawn at random, the same ones at each call."""

    source: Source
    train: int
    test: int

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            if getattr(self, name) < 1:
                raise ValueError(f"a subset has at least one image to {name} on, not {getattr(self, name)}")

    def load(self, split: Split) -> Dataset[Batch]:
        whole = self.source.load(split)
        count, wanted = len(cast(Any, whole)), self.train if split == "train" else self.test
        if wanted > count:
            raise ValueError(f"{self.source} has {count} images to {split} on, not the {wanted} asked for")
        return _Rows(whole, torch.randperm(count, generator=torch.Generator().manual_seed(0))[:wanted].tolist())


class _Rows(Dataset[Batch]):
    """Some rows of a dataset that is indexed by lists of them."""

    def __init__(self, whole: Dataset[Batch], rows: list[int]) -> None:
        self.whole, self.rows = whole, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: list[int]) -> Batch:
        return self.whole[[self.rows[row] for row in rows]]
