"""Is a code standard normal? Ask it of many directions, one dimension at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ebm.processes import agreed
from ebm.regularizers.blocks import sum_over_blocks
from ebm.regularizers.moments import branches


class SlicedTest(nn.Module, ABC):
    """`mean_k T(a_k . h)`, mean over branches: how far from N(0, 1) a code is along random unit directions `a_k`.

    Zero along all directions if and only if the code is N(0, I) (Cramer and Wold 1936), so that it sees any
    dependence between dimensions, not that of pairs alone, and a mean and a scale besides. But most directions of
    many dimensions see a sum of many of them, which is near normal whatever they are: see `HSIC` for pairs.

    Directions are drawn at every call, from the global generator: one draw for all branches and processes, as the
    official code of LeJEPA has it. A subclass writes `statistic`.
    """

    def __init__(self, slices: int = 256) -> None:
        super().__init__()
        if slices < 1:
            raise ValueError(f"{type(self).__name__} needs at least 1 direction to look along, got slices={slices}")
        self.slices = slices

    @abstractmethod
    def statistic(self, samples: Tensor) -> Tensor:
        """`T` of each row of samples, `(K, N) -> (K,)`."""

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        views = branches(self, codes)
        if len({h.shape[1] for h in views}) > 1:
            shapes = ", ".join(str(tuple(h.shape)) for h in views)
            raise ValueError(f"{type(self).__name__} looks at all branches along the same directions, got {shapes}")
        with torch.autocast(views[0].device.type, enabled=False):
            directions = self._directions(views[0])
            return torch.stack([self._mean_statistic(h, directions) for h in views]).mean()

    def _directions(self, codes: Tensor) -> Tensor:
        # Drawn in single precision whatever the codes are in, so that a seed stands for the same directions.
        drawn = agreed(torch.randn(self.slices, codes.shape[1], device=codes.device))
        return normalize(drawn.to(codes.dtype), dim=1)

    def _mean_statistic(self, codes: Tensor, directions: Tensor) -> Tensor:
        def total(along: Tensor) -> tuple[Tensor]:
            return (self.statistic(along @ codes.T).sum(),)

        return sum_over_blocks(total, len(codes), directions)[0] / self.slices
