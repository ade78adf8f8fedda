"""How much room codes fill, in nats: by their covariance, by their nearest neighbours, and by clusters."""

from __future__ import annotations

import math
import warnings

import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from ebm.meters.codes import checked
from ebm.meters.information import gaussian_total_correlation, gram, standardised
from ebm.meters.landscape import Scores
from ebm.meters.neighbors import drawn, nearest

EPS = torch.finfo(torch.float64).eps
SAMPLES = 2048  # rows that the meter looks up


def gaussian_entropy(codes: Tensor) -> float:
    """`log det(2 pi e Sigma) / 2` of the covariance (by N) of codes `(N, D)`: the most that codes with it can have.

    As `D log(2 pi e) / 2 + sum_d log sigma_d - gaussian_total_correlation`, so that small dimensions do not drown in
    large ones. Minus infinity is what a singular covariance has; here it is finite and keeps falling with every
    dimension that is lost: a standard deviation counts as no less than rounding (2e-16 of the largest number in the
    codes), an eigenvalue of the correlations as no less than about 1e-12.

    Rises by `D log s` for codes s times as large: compare at one size. What it cannot see: anything beyond the
    covariance; a spiral has as much as a disc. Raises ValueError for codes that `checked` refuses.
    """
    codes = checked(codes)
    deviations = _deviations(codes).clamp_min(_rounding(codes))
    normal = codes.shape[1] / 2 * math.log(2 * math.pi * math.e)
    return normal + float(deviations.log().sum()) - gaussian_total_correlation(codes)


def kozachenko_leonenko(codes: Tensor, neighbors: int = 3, samples: int | None = 4096) -> float:
    """`psi(N) - psi(k) + log V_D + D mean_i log r_k(i)` of codes `(N, D)`, `r_k` the distance to the k-th neighbour.

    Kozachenko and Leonenko 1987, for k > 1 as in Kraskov et al. 2004, eq. 20, with `V_D` the volume of the unit ball.
    The default k = 3 is theirs for information; k = 1 is the first paper's. Over 4,096 rows (`samples`; None for all),
    whose neighbours are among all. Where codes repeat, entropy is minus infinity; a distance counts as no less than
    rounding (2e-16 of the largest number in the codes), so that it is finite, about `-36 D` plus `D log` of their size.

    Sees curved dependence, of all orders. What it cannot see: the density in many dimensions (9 nats too high for 2,048
    normal codes in 64), and directions of little variance beside those of much (for which `negentropy` makes all alike
    first). The rows are drawn by their place. Raises ValueError for codes that `checked` refuses and for fewer than 1
    neighbour.
    """
    codes = checked(codes)
    count, features = codes.shape
    neighbors = min(neighbors, count - 1)
    distances, _ = nearest(codes, neighbors, drawn(count, samples))
    logs = distances[:, -1].clamp_min(_rounding(codes)).log().mean()
    known, whole = torch.digamma(torch.tensor([neighbors, count], dtype=torch.float64)).tolist()
    ball = features / 2 * math.log(math.pi) - math.lgamma(features / 2 + 1)
    return whole - known + ball + features * float(logs)


def negentropy(codes: Tensor, neighbors: int = 3, samples: int | None = 4096) -> float:
    """`gaussian_entropy - kozachenko_leonenko` of codes `(N, D)` made white in the directions that they have.

    How far they are from normal codes of their covariance, in nats (Comon 1994). Whitening leaves the difference as it
    is, for infinitely many codes; of those there are it makes distances mean the same in every direction, and the value
    the same after every invertible affine map. Directions whose part of the correlations is below rounding are left
    out; 0 where none is left.

    0 for normal codes, above for others, without a bound for thin surfaces (70 for one of dimension 2 in 64). It falls
    below 0 in many dimensions, with `kozachenko_leonenko`'s error: -10 for 2,048 normal codes in 64 dimensions.
    Compare with normal codes of the same N and D. What it cannot see: the size and the covariance of the codes, hence
    a subspace; a spiral between 2 of 32 dimensions, which is lost in that error.
    """
    codes = _white(checked(codes))
    features = codes.shape[1]
    if not features:
        return 0.0
    return features / 2 * math.log(2 * math.pi * math.e) - kozachenko_leonenko(codes, neighbors, samples)


def quantised_entropy(codes: Tensor, clusters: int = 16, samples: int | None = 4096) -> float:
    """`-sum_c p_c log p_c / log k`, `p_c` the shares of k clusters found by k-means in codes `(N, D)`.

    Lloyd's algorithm of scikit-learn from one start by k-means++, seeded; of more than 4,096 codes (`samples`; None for
    all) on a sample. Starts are drawn by their place, so that it depends on the order of rows. With fewer codes than
    `clusters`, k is N. From 0 (all in one place) to 1 (clusters of one size).

    It is offered since it is often proposed, and sees almost nothing: of 2,048 points it reads .95 for a line, .97 for
    a normal cloud, 1.00 for a spiral, .94 for a surface of dimension 2 in 64 and .99 for a normal cloud there, and it
    does not tell a spiral, a circle or a correlation of .9 from independence (power .05 to .07 at 256 points). What it
    does see is that codes sit in fewer places than k, or in places of very unlike weight. Raises ValueError for codes
    that `checked` refuses and for fewer than 2 clusters.
    """
    if clusters < 2:
        raise ValueError(f"codes are told apart by 2 `clusters` at least, got {clusters}")
    codes = checked(codes)
    rows = drawn(len(codes), samples).to(codes.device)
    clusters = min(clusters, len(rows))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # fewer places than clusters are no fault here but a finding
        labels = KMeans(clusters, n_init=1, random_state=0).fit_predict(codes[rows].cpu().numpy())
    shares = torch.bincount(torch.from_numpy(labels).long()).double() / len(labels)
    return float(torch.special.entr(shares).sum()) / math.log(clusters)


def entropy(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Four readings of the codes of y: `gaussian_entropy`, `kozachenko_leonenko`, `negentropy`, `quantised_entropy`.

    The two of neighbours over 2,048 rows. The first two move with the size of the codes, the last two do not; the last
    depends on the order of rows.
    """
    return {
        "entropy_gaussian": gaussian_entropy(hy),
        "entropy_neighbors": kozachenko_leonenko(hy, samples=SAMPLES),
        "negentropy": negentropy(hy, samples=SAMPLES),
        "entropy_quantised": quantised_entropy(hy),
    }


def _white(codes: Tensor) -> Tensor:
    """Codes of identity covariance in the directions in which they vary by more than rounding, `(N, rank)`."""
    codes = standardised(codes)
    values, vectors = torch.linalg.eigh(gram(codes))
    kept = values > EPS * max(codes.shape)
    if codes.shape[1] <= len(codes):
        return codes @ vectors[:, kept] / values[kept].sqrt()
    return vectors[:, kept] * len(codes) ** 0.5


def _deviations(codes: Tensor) -> Tensor:
    peak = codes.abs().max().clamp_min(torch.finfo(codes.dtype).tiny)
    return (codes / peak).std(0, correction=0) * peak


def _rounding(codes: Tensor) -> float:
    return max(EPS * float(codes.abs().max()), torch.finfo(codes.dtype).tiny)
