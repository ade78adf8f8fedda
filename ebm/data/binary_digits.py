"""Handwritten digits in black and white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch.utils.data import Dataset, TensorDataset

from ebm.data.digits import Digits
from ebm.data.source import Batch, Source, Split


@final
@dataclass(frozen=True)
class BinaryDigits(Source):
    """The `Digits` as rows of 64 zeros and ones: which pixels are at least half black."""

    held_out: float = 0.25
    seed: int = 0

    def load(self, split: Split) -> Dataset[Batch]:
        digits = Digits(self.held_out, self.seed).load(split)
        images, labels = digits[:]
        return TensorDataset((images.flatten(1) >= 0.5).float(), labels)
