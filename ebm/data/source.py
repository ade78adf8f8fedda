"""What a dataset is here: images, or points, with labels, split in two once and for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

from torch import Tensor
from torch.utils.data import Dataset

Split = Literal["train", "test"]
Batch = tuple[
    Tensor, ...
]  # images (batch, channels, height, width) in [0, 1] or points (batch, features); labels (batch,)


class Source(ABC):
    """Where images, or points, come from. Labels are for probes, and for losses that are supervised."""

    @abstractmethod
    def load(self, split: Split) -> Dataset[Batch]:
        """One part of the data, with a length; indexed by a list of row numbers it gives a batch.

        The two parts share none of them, and are the same at each call.
        """
