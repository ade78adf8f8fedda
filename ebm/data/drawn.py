"""Points that are drawn from a distribution which is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset

from ebm.data.source import Batch, Source, Split

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Drawn(Source, ABC):
    """Points `(features,)` with the part of the distribution that they are from as label; so many to train on and held
    out.

    `seed` chooses which; it is part of the data, not of a run, so that all runs are scored on the same points.
    """

    train: int = 8192
    held_out: int = 4000
    seed: int = 0

    def load(self, split: Split) -> Dataset[Batch]:
        count, stream = (self.train, 0) if split == "train" else (self.held_out, 1)
        points, labels = self.draw(count, np.random.default_rng([self.seed, stream]))
        return TensorDataset(torch.from_numpy(points).float(), torch.from_numpy(labels))

    @abstractmethod
    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        """Points `(count, features)`, independent of each other, and labels `(count,)`."""
