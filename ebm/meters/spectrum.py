"""How far codes spread, and over how many directions.

Rank is free of scale: a code that has shrunk to almost a point can have the highest rank of all, since what is left is
noise in every direction. Never read a rank without a spread beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ebm.meters.landscape import Scores


def singular_values(codes: Tensor) -> Tensor:
    """Of the centred codes `(N, D)`, largest first, `(min(N, D),)`, in float64; 0 for what centring may have left."""
    codes = codes.double()
    values = torch.linalg.svdvals(codes - codes.mean(0))
    rounding = torch.finfo(codes.dtype).eps * max(codes.shape) * codes.abs().max()
    return torch.where(values > rounding, values, 0)


def effective_rank(codes: Tensor) -> float:
    """`exp(-sum p log p)`, `p` the singular values of the centred codes over their sum.  Roy and Vetterli 2007.

    From 1 (a line) to D (a ball); 0 for codes that are all the same.
    """
    return _exponential_entropy(singular_values(codes))


def rankme(codes: Tensor) -> float:
    """The same of the codes as they are, not centred.  RankMe: Garrido et al. 2023, eq. 2, without its 1e-7.

    A code that is far from the origin has a RankMe near 1, whatever its shape.
    """
    return _exponential_entropy(torch.linalg.svdvals(codes.double()))


def normalized_std(codes: Tensor) -> float:
    """`sqrt(D)` times the mean over dimensions of the standard deviation of `codes / |codes|`.

    Chen and He 2021, section 4.1. 1 for directions that are spread evenly, 0 for codes that all point the same way.
    """
    return float(normalize(codes.double(), dim=-1).std(0, correction=0).mean() * codes.shape[-1] ** 0.5)


def spread(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Standard deviation of the codes of y: mean and lowest over dimensions, and the mean of unit codes.

    Of y, since in a predictive energy the code of x is a prediction, whose rank and spread are the predictor's too.
    """
    deviations = hy.double().std(0, correction=0)
    return {
        "std": float(deviations.mean()),
        "std_lowest": float(deviations.min()),
        "normalized_std": normalized_std(hy),
    }


def rank(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Effective rank of the centred codes of y, and their RankMe."""
    return {"effective_rank": effective_rank(hy), "rankme": rankme(hy)}


def _exponential_entropy(values: Tensor) -> float:
    total = values.sum()
    if not bool(total > 0):
        return 0.0
    return float(torch.special.entr(values / total).sum().exp())
