"""Distances between codes: what most energies of two encoded variables come down to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, normalize


class Distance(ABC):
    """`d(a, b)` over the last axis, the leading axes broadcast: `(*batch, D), (*batch, D) -> (*batch,)`.

    In single precision or better, even of codes in half precision and under autocast: distances are what is left of
    products that cancel. A subclass writes `rows` and `table`.
    """

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances of shape `(*batch,)`."""
        return precisely(self.rows, a, b)

    def pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances `(n, m)` of every row of `a` from every row of `b`, without an `(n, m, D)` tensor."""
        return precisely(self.table, a, b)

    @abstractmethod
    def rows(self, a: Tensor, b: Tensor) -> Tensor:
        """The distances of matching rows."""

    @abstractmethod
    def table(self, a: Tensor, b: Tensor) -> Tensor:
        """The distances of all pairs of rows."""


@final
@dataclass(frozen=True)
class SquaredDistance(Distance):
    """`|a - b|^2 / D`, the mean squared error of VICReg (Bardes, Ponce, LeCun 2022, eq. 5, as their code has it)."""

    def rows(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = torch.broadcast_tensors(a, b)
        return mse_loss(a, b, reduction="none").mean(-1)  # which keeps no difference of them for its derivative

    def table(self, a: Tensor, b: Tensor) -> Tensor:
        # A distance does not see a common shift, but the rounding of |a|^2 + |b|^2 - 2 a.b does.
        centre = b.detach().mean(0)
        a, b = a - centre, b - centre
        squares = a.square().sum(-1)[:, None] + b.square().sum(-1)[None, :]
        return (squares - 2 * a @ b.T).clamp_min(0) / a.shape[-1]


@final
@dataclass(frozen=True)
class EuclideanDistance(Distance):
    """`|a - b|`; its derivative where `a = b` is taken as zero."""

    def rows(self, a: Tensor, b: Tensor) -> Tensor:
        return torch.linalg.vector_norm(a - b, dim=-1)

    def table(self, a: Tensor, b: Tensor) -> Tensor:
        # The product form loses half of the digits of a small distance, and its root has no derivative at zero.
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


@final
@dataclass(frozen=True)
class CosineDistance(Distance):
    """`scale (1 - cos(a, b))`; a scale of 2 is the squared Euclidean distance of the codes on the unit sphere."""

    scale: float = 1.0

    def rows(self, a: Tensor, b: Tensor) -> Tensor:
        return self.scale * (1 - (normalize(a, dim=-1) * normalize(b, dim=-1)).sum(-1))

    def table(self, a: Tensor, b: Tensor) -> Tensor:
        return self.scale * (1 - normalize(a, dim=-1) @ normalize(b, dim=-1).T)


def precisely(fn: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """`fn(a, b)` in single precision or better, under autocast too."""
    with torch.autocast(a.device.type, enabled=False):
        return fn(*(h.float() if h.dtype in (torch.float16, torch.bfloat16) else h for h in (a, b)))
