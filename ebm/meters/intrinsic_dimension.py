"""On a surface of how many dimensions codes lie, whatever the space that it winds through."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm.meters.codes import checked
from ebm.meters.landscape import Scores
from ebm.meters.neighbors import drawn, nearest

ROUNDING = 1e-12  # what is left of the logarithm of a ratio of equal distances


def two_nn(codes: Tensor, discarded: float = 0.1, samples: int | None = 4096) -> float:
    """The slope `d` of `-log(1 - F(mu)) = d log mu`, `mu = r_2 / r_1` the ratio of the distances to two neighbours.

    Facco et al. 2017: `F(mu_(i)) = i / n` of the ratios in ascending order, a line through the origin, without the
    highest tenth (`discarded`), which the shape of the whole disturbs most. Their fit is the default since it bears
    outliers; the maximum of the likelihood, `n / sum log mu`, is `maximum_likelihood(codes, neighbors=2)`.

    For codes `(N, D)`; of more than 4,096 (`samples`; None for all) the neighbours of a sample are looked up among all,
    drawn by their place. From 0 upwards. A row with a twin at distance 0 says nothing and is left out; 0 where none is
    left or fewer than three codes are there (a point, copies), D where all ratios are 1 (a simplex, a lattice).

    What it cannot see: a high dimension, where it reads too low (about 38 for 2,048 normal codes in 64 dimensions;
    compare with such codes, not with D), the size of the codes, how a surface is curved or how many pieces it has
    (clusters with noise in all directions read the dimension of the noise). Noise as wide as the distance of
    neighbours raises it: it reads the finest scale there is. Raises ValueError for codes that `checked` refuses and
    for a share `discarded` out of `(0, 1)`.
    """
    if not 0 < discarded < 1:
        raise ValueError(f"`discarded` is the share of the highest ratios, between 0 and 1, got {discarded}")
    codes = checked(codes)
    return _slope(_distances(codes, 2, samples), discarded, codes.shape[1])


def maximum_likelihood(codes: Tensor, neighbors: int = 20, samples: int | None = 4096) -> float:
    """`1 / mean_ij log(r_ik / r_ij)`, `j < k`, `r_ij` the distance of code i to its j-th neighbour, `k = neighbors`.

    Levina and Bickel 2004, eq. 8, as an average of inverses (MacKay and Ghahramani 2005), which is the maximum of the
    likelihood of all codes together; Levina and Bickel average the dimensions of each code, which reads too high for
    few neighbours. The default is k = 20, of the 10 to 20 that they average over. With k = 2 it is the likelihood's
    form of TwoNN.

    For codes `(N, D)`; of more than 4,096 (`samples`; None for all) the neighbours of a sample are looked up among all,
    drawn by their place. From 0 upwards. Neighbours at distance 0 say nothing and are left out; 0 where none is left or
    fewer than three codes are there, D where all distances are equal. With fewer codes k is `N - 1`.

    What it cannot see: what `two_nn` cannot. Over 20 neighbours it varies less than TwoNN and bears more noise, and
    reads lower still in high dimension (about 32 for 2,048 normal codes in 64 dimensions), higher where the surface
    bends within 20 neighbours. Raises ValueError for codes that `checked` refuses and for fewer than 2 neighbours.
    """
    if neighbors < 2:
        raise ValueError(f"ratios of distances need 2 `neighbors` at least, got {neighbors}")
    codes = checked(codes)
    return _inverse_mean(_distances(codes, neighbors, samples), codes.shape[1])


def intrinsic_dimension(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Intrinsic dimension of the codes of y: `two_nn` and `maximum_likelihood`, with their defaults.

    Far below the effective rank it says that the codes are a thin surface in the space that they fill.
    """
    codes = checked(hy)
    distances = _distances(codes, 20, 4096)
    return {
        "two_nn": _slope(distances[:, :2], 0.1, codes.shape[1]),
        "maximum_likelihood": _inverse_mean(distances, codes.shape[1]),
    }


def _distances(codes: Tensor, neighbors: int, samples: int | None) -> Tensor:
    return nearest(codes, min(neighbors, len(codes) - 1), drawn(len(codes), samples))[0]


def _slope(distances: Tensor, discarded: float, most: int) -> float:
    if distances.shape[1] < 2:
        return 0.0
    first, second = distances[distances[:, 0] > 0].T
    logs = (second / first).log().sort().values
    kept = math.floor((1 - discarded) * len(logs))
    logs = _without_rounding(logs[:kept])
    shares = torch.arange(1, kept + 1, dtype=logs.dtype, device=logs.device) / max(len(first), 1)
    return _ratio(-(logs * (-shares).log1p()).sum(), logs.square().sum(), kept, most)


def _inverse_mean(distances: Tensor, most: int) -> float:
    known = (distances[:, :-1] > 0).nonzero(as_tuple=True)
    logs = _without_rounding((distances[:, -1][known[0]] / distances[known]).log())
    return _ratio(torch.tensor(len(logs)), logs.sum(), len(logs), most)


def _without_rounding(logs: Tensor) -> Tensor:
    return torch.where(logs > ROUNDING, logs, 0)


def _ratio(above: Tensor, below: Tensor, count: int, most: int) -> float:
    """`above / below`; 0 for nothing, and the most there can be where no two distances differ."""
    if not count:
        return 0.0
    return float(above / below) if bool(below > 0) else float(most)
