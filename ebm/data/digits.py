"""Handwritten digits that ship with scikit-learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset, TensorDataset

from ebm.data.source import Batch, Source, Split


@final
@dataclass(frozen=True)
class Digits(Source):
    """1,797 images of 8 x 8 in ten classes (Alpaydin and Kaynak 1998), of which a share is held out, stratified.

    `seed` chooses which; it is part of the data, not of a run, so that all runs are scored on the same images.
    """

    held_out: float = 0.25
    seed: int = 0

    def load(self, split: Split) -> Dataset[Batch]:
        bunch = load_digits()
        images = torch.from_numpy(bunch.images).float().unsqueeze(1) / 16
        labels = torch.from_numpy(bunch.target).long()
        rows = range(len(labels))
        train, test = train_test_split(rows, test_size=self.held_out, random_state=self.seed, stratify=labels)
        part = torch.tensor(train if split == "train" else test)
        return TensorDataset(images[part], labels[part])
