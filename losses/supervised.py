"""What sets losses apart that are told the class of each sample."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ebm.free_energy import FreeEnergy


class Supervised(nn.Module, ABC):
    """A loss that takes labels: a learner gives it those of a batch `(x, y, labels)`."""

    @abstractmethod
    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes `(batch, ...)` and labels `(batch,)` to a scalar; without labels each sample is a class of its own."""
