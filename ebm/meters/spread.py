"""How far codes spread, dimension by dimension."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.meters.codes import checked
from ebm.meters.landscape import Scores
from ebm.meters.sphere import on_sphere


def deviations(codes: Tensor) -> Tensor:
    """Standard deviation of each dimension, `(N, D) -> (D,)`, by N and not N - 1, in float64."""
    return checked(codes, rows=1).std(0, correction=0)


def normalized_std(codes: Tensor) -> float:
    """`sqrt(D)` times the mean over dimensions of the standard deviation of `codes / |codes|`.

    Chen and He 2021, section 4.1. 1 for directions that are spread evenly, 0 for codes that all point the same way. It
    sees nothing of the length of codes, and little of their rank: codes on a line through the origin have 0.8 of 64
    dimensions, from `1 / sqrt(D)` where the line is an axis to 1 where it lies alike across all.
    """
    directions = on_sphere(checked(codes, rows=1))
    return float(directions.std(0, correction=0).mean() * codes.shape[1] ** 0.5)


def dead_dimensions(codes: Tensor, share: float = 0.01) -> float:
    """How many dimensions have a standard deviation below `share` of the root mean square of those of all.

    From 0 to D, which is that of codes that are all the same. Being of a share it does not see that all of them
    shrank; nor a direction that has died but is no axis, for which there is `effective_rank`.
    """
    codes = checked(codes, rows=1)
    spreads = codes.std(0, correction=0)
    # What the mean of numbers that are all the same may be off by.
    rounding = torch.finfo(codes.dtype).eps * max(codes.shape) * codes.abs().amax(0)
    return float((spreads <= torch.maximum(share * spreads.square().mean().sqrt(), rounding)).sum())


def spread(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Standard deviation of the codes of y: mean and lowest over dimensions, how many are dead, and of unit codes.

    Of y, since in a predictive energy the code of x is a prediction, whose spread is the predictor's too.
    """
    spreads = deviations(hy)
    return {
        "std": float(spreads.mean()),
        "std_lowest": float(spreads.min()),
        "normalized_std": normalized_std(hy),
        "dead_dimensions": dead_dimensions(hy),
    }
