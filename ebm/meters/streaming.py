"""The mean and the scatter of codes that are never all there at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
import torch.distributed as dist
from torch import Tensor

from ebm.meters.codes import checked
from ebm.processes import several

EPSILON = torch.finfo(torch.float64).eps


@final
@dataclass(frozen=True)
class Moments:
    """Number, mean `(D,)` and scatter `sum (h - mean)(h - mean)'` `(D, D)` of codes, in float64.

    `Moments.zeros(D)`, then `moments = moments.update(codes)` for each batch. Batches are merged by the update of Chan,
    Golub and LeVeque 1983, which does not cancel where codes are far from the origin; two halves are merged by `+`, and
    those of several processes by `over_processes()`.

    `moments.codes()` are as many codes as it takes to have these moments, for every meter of the spectrum:
    `effective_rank(moments.codes())`. Squares lose half of the digits: a direction of less than `sqrt(eps D)`, 3e-7 at
    D = 512, of the strongest is empty here, which codes at once show down to `eps N`, 2e-12 at N = 10,000.
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def zeros(cls, features: int, device: torch.device | str = "cpu") -> Moments:
        """Of no codes yet."""
        empty = torch.zeros(features, features, dtype=torch.float64, device=device)
        return cls(0, empty[0].clone(), empty)

    @classmethod
    def of(cls, codes: Tensor) -> Moments:
        """Of codes `(N, D)`.  Raises ValueError for others, or where they are not finite."""
        codes = checked(codes, rows=1)
        mean = codes.mean(0)
        return cls(len(codes), mean, (codes - mean).T @ (codes - mean))

    def update(self, codes: Tensor) -> Moments:
        """These and the codes `(N, D)` together."""
        return self + Moments.of(codes)

    def __add__(self, other: Moments) -> Moments:
        """Both together; raises ValueError where their codes have different numbers of features."""
        if self.mean.shape != other.mean.shape:
            raise ValueError(f"codes of {len(self.mean)} and of {len(other.mean)} features have no moments in common")
        count = self.count + other.count
        apart = other.mean - self.mean
        scatter = self.scatter + other.scatter
        if not self.count or not other.count:
            return Moments(count, self.mean if self.count else other.mean, scatter)
        shift = torch.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, self.mean + apart * (other.count / count), scatter + shift)

    def over_processes(self) -> Moments:
        """Of the codes of all processes, the same on each; it is collective. These, where there is one."""
        if not several():
            return self
        count = _total(self.mean.new_tensor(float(self.count)))
        mean = _total(self.mean * (self.count / count))
        apart = self.mean - mean
        return Moments(int(count), mean, _total(self.scatter + self.count * torch.outer(apart, apart)))

    def codes(self) -> Tensor:
        """`(2 D, D)` codes of this mean and covariance, two on each principal axis.

        Every meter of mean and covariance alone reads off them what it would off all: the spectrum, RankMe,
        `deviations` and `dead_dimensions`. What depends on single codes, such as directions or neighbours, they do not
        have. Raises ValueError where there were no codes.
        """
        if not self.count:
            raise ValueError("these moments are of no codes: `update` them with a batch at least")
        values, axes = torch.linalg.eigh(self.scatter)
        rounding = torch.maximum(
            len(values) * values[-1] * EPSILON, (EPSILON * self.count * self.mean.abs().max()) ** 2
        )
        spreads = torch.where(values > rounding, values, 0).div(self.count).sqrt()
        arms = (axes * (len(values) ** 0.5 * spreads)).T
        return self.mean + torch.cat([arms, -arms])


def _total(values: Tensor) -> Tensor:
    total = values.clone()
    dist.all_reduce(total)
    return total
