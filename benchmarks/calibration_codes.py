"""Codes whose truth is known, for `calibration.py`: how they are made, and what each meter should read off them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ebm.data import ThinSurface

D = 64
EMPTY = 1 / torch.finfo(torch.float64).eps  # the condition number of codes with an empty direction


@dataclass(frozen=True)
class Known:
    """Codes in 64 dimensions by the eigenvalues of their covariance, their mean and the dimension that they have."""

    eigenvalues: Tensor
    dimension: float
    mean: float = 0.0
    """Of every entry."""
    normal: bool = True
    """Whether they are normal in the directions that they have, so that entropies are known."""
    alpha: float | None = None
    """The exponent of the power law of the eigenvalues, if they have one."""
    source: ThinSurface | None = None
    clusters: bool = False

    def draw(self, count: int, seed: int) -> Tensor:
        """Codes `(count, 64)` in double precision, turned so that no direction is an axis."""
        generator = torch.Generator().manual_seed(seed)
        if self.source is not None:
            return torch.from_numpy(self.source.draw(count, np.random.default_rng(seed))[0])
        axes = torch.linalg.qr(torch.randn(D, D, generator=generator, dtype=torch.float64)).Q
        draws = torch.randn(count, D, generator=generator, dtype=torch.float64)
        if self.clusters:
            draws[:, 0] = draws[:, 0].sign()
        filled = self.eigenvalues > 0
        return self.mean + (draws * self.eigenvalues.sqrt())[:, filled] @ axes[filled]

    def truth(self) -> dict[str, float]:
        """What a meter of each name should read off infinitely many of these codes; those not named have no truth."""
        values = self.eigenvalues.clone()
        about = values.clone()
        about[0] += D * self.mean**2  # a mean far longer than the spread is a direction of its own, whichever it is
        total = float(values.sum())
        known = {"two_nn": self.dimension, "maximum_likelihood": self.dimension, "rankme": entropic(about.sqrt())}
        known |= {"effective_rank": entropic(values.sqrt())}
        known["stable_rank"] = known["nesum"] = total / float(values.max()) if total else 0.0
        known["participation_ratio"] = total**2 / float(values.square().sum()) if total else 0.0
        known["condition_number"] = float((values.max() / values.min()).sqrt()) if values.min() > 0 else EMPTY
        if not total or values.min() > 0.01 * values.max():  # else an axis may lie across the strong ones by chance
            known["dead_dimensions"] = 0.0 if total else float(D)
        if self.normal and total and values.min() == values.max():
            known["gaussian_total_correlation"] = known["total_correlation"] = 0.0
        if self.alpha is not None:
            known["alpha_req"] = self.alpha
        if self.normal and values.min() > 0:
            known |= {"negentropy": 0.0, "gaussian_entropy": self._entropy(), "kozachenko_leonenko": self._entropy()}
        return known

    def lidar(self, noise: float, views: int, shrinkage: float) -> float:
        """What LiDAR should read where views differ by noise of this variance; `shrinkage` as a share of variance."""
        means = self.eigenvalues + noise / views
        variance = float(means.mean()) + noise
        return entropic(means / (noise + shrinkage * variance))

    def _entropy(self) -> float:
        return float((2 * math.pi * math.e * self.eigenvalues).log().sum()) / 2


def entropic(weights: Tensor) -> float:
    """`exp(-sum p log p)`, `p` the weights over their sum; 0 for zeros."""
    total = float(weights.sum())
    return float(torch.special.entr(weights / total).sum().exp()) if total else 0.0


def _even(rank: int, noise: float = 0.0) -> Tensor:
    return (torch.arange(D) < rank).double() + noise**2


def _decaying(alpha: float) -> Tensor:
    return torch.arange(1, D + 1, dtype=torch.float64) ** -alpha


def _two_clusters() -> Tensor:
    return torch.tensor([1.0] + [0.05**2] * (D - 1), dtype=torch.float64)


CODES: dict[str, Known] = {
    "ball: N(0, I)": Known(_even(D), D, alpha=0.0),
    "ball, 1,000 from the origin": Known(_even(D), D, mean=1000 / D**0.5, alpha=0.0),
    "ball, shrunk to 1e-6, 1 from the origin": Known(1e-12 * _even(D), D, mean=1 / D**0.5, alpha=0.0),
    **{f"rank {k}": Known(_even(k), k, alpha=0.0) for k in (1, 8, 32)},
    **{f"rank {k} and noise of 1e-3": Known(_even(k, 1e-3), k) for k in (1, 8, 32)},
    **{f"eigenvalues k^-{a}": Known(_decaying(a), D, alpha=float(a)) for a in (1, 2, 3)},
    "zeros": Known(_even(0), 0, alpha=0.0),
    "a point, 1,000 from the origin": Known(_even(0), 0, mean=1000 / D**0.5, alpha=0.0),
    "two clusters of 1/20 of their distance": Known(_two_clusters(), D, normal=False, clusters=True),
    **{
        f"surface of dimension {d}": Known(_even(D), d, normal=False, alpha=0.0, source=ThinSurface(latents=d))
        for d in (1, 2, 4)
    },
}
