"""What a verdict of collapse goes by: numbers of codes as their energy sees them, each free of N, D and units.

All take codes `(N, D)` that are `checked`, at least two of them, and give finite numbers of whatever those are.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm.meters.landscape import Scores, infers, others, references, share_below
from ebm.meters.latent import usage
from ebm.meters.spectrum import rank_of_squares
from ebm.meters.sphere import on_sphere

PROBES = 32  # pairs of codes at random that an energy is asked about
DISTINCT = 32  # codes that tell of a dimension, at least
FEW = (2, 20)  # neighbours by which a dimension is read
NEAR = 8  # neighbours within which a gap is chance
ASKED = 256  # codes whose neighbours are looked at
SOLVES = 128  # samples whose latent is inferred
ROUNDING = 1e-6  # of a code in single precision, as a share of its length


def directions_alone(F: Scores | None, hx: Tensor, hy: Tensor) -> bool:
    """Whether F of codes in one space sees their directions and not their lengths, as a cosine does."""
    if F is None or hx.shape != hy.shape or infers(F, hx, hy):
        return False
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(PROBES, hx.shape[1], generator=generator).to(hx) for _ in range(2))
    with torch.no_grad():
        once, scaled = F(a, b).double(), F(3 * a, b / 5).double()
    return bool(((once - scaled).abs() <= 1e-3 * once.abs().amax()).all())


def length_of_spread(codes: Tensor) -> float:
    """`sqrt(mean |h - mean|^2)`: 1 for unit vectors that spread over the sphere, however many features they have."""
    return _finite(_size(codes - codes.mean(0)))


def relative_spread(codes: Tensor) -> float:
    """`sqrt(mean |h - mean|^2 / mean |h|^2)`: from 0, codes that are a point for their size, to 1, centred ones."""
    size = _size(codes)
    return min(1.0, _size(codes - codes.mean(0)) / size) if size > 0 else 0.0


def effective_share(values: Tensor, codes: Tensor) -> float:
    """Effective rank over what it can be of so many codes and features, `min(N - 1, D)`."""
    return rank_of_squares(values.sqrt()) / _directions(codes)


def live_share(values: Tensor, codes: Tensor, least: float = 1e-3) -> float:
    """Directions whose singular value is above a thousandth of the largest, over `min(N - 1, D)`."""
    return min(1.0, float((values > least * values[0]).sum()) / _directions(codes))


def drop(values: Tensor, codes: Tensor, left: float = 0.05) -> float:
    """The largest `s_k / s_(k+1)` of singular values, `k` in their first half, beyond which less than 5 % is left.

    Where a subspace ends and noise begins; 1 where more than that share of the variance is left. At most 1,000.
    """
    values = values[: _directions(codes)]
    scaled = values / values[0].clamp_min(torch.finfo(values.dtype).tiny)
    beyond = scaled.square().flip(0).cumsum(0).flip(0)[1:]
    ratios = scaled[:-1] / scaled[1:].clamp_min(1e-3)
    places = torch.arange(1, len(values), device=values.device) <= len(values) / 2
    ends = ratios[places & (beyond < left * scaled.square().sum())]
    return float(ends.max()) if len(ends) else 1.0


def neighbours(codes: Tensor, count: int, asked: int) -> Tensor:
    """Distances of about so many codes, or all, to their nearest others, ascending, `(n, count)` or to all there are.

    By products in float64 of the centred codes, so that one of 1e-8 of their size or less may be any such.
    """
    codes = codes - codes.mean(0)
    rows = torch.arange(0, len(codes), math.ceil(len(codes) / asked), device=codes.device)
    squares = codes.square().sum(1)
    apart = torch.addmm(squares, codes[rows], codes.T, alpha=-2).add_(squares[rows, None]).clamp_min_(0)
    apart.scatter_(1, rows[:, None], -1)  # itself comes first, also before copies of it
    return apart.topk(min(count + 1, len(codes)), largest=False).values[:, 1:].sqrt()


def surface_share(values: Tensor, codes: Tensor) -> float:
    """Intrinsic dimension over that of as many normal codes of the same spectrum: near 1 for a ball, 0 for a point.

    The geometric mean of two such ratios, of the dimension of highest likelihood (Levina and Bickel 2004, averaged as
    by MacKay and Ghahramani 2005): by 2 neighbours, which bears bends and rises with noise as wide as their distance,
    and by 20, the other way round. Some 256 codes are asked. Neither reads the true dimension of few codes in many
    dimensions, hence the normal ones, drawn with a fixed seed. 1 at most: clusters and tails heavier than normal ones
    read more. Copies count once, since they say nothing of dimension; 1 also where fewer than 32 are left, which are
    clusters if anything.
    """
    codes = codes.unique(dim=0)
    values = values[: _directions(codes)]
    if len(codes) < DISTINCT or not bool(values[0] > 0):
        return 1.0
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(len(codes), len(values), generator=generator).to(values)
    normal = neighbours(draws * (values / values[0]), max(FEW), ASKED)
    found = neighbours(codes, max(FEW), ASKED)
    return min(1.0, math.prod(_inverse(normal, k) / _inverse(found, k) for k in FEW) ** (1 / len(FEW)))


def gap(codes: Tensor) -> float:
    """The median over codes of the largest ratio `r_(k+1) / r_k` of distances to neighbours, `8 <= k <= N / 2`.

    1 or a little more where neighbours lie ever farther out; in clusters it is the distance between them over their
    width. It takes no number of clusters, and clusters of fewer than nine codes are not seen. Some 128 codes are asked.
    At most 1,000.
    """
    distances = neighbours(codes, len(codes) // 2 + 1, ASKED // 2)[:, NEAR - 1 :]
    if distances.shape[1] < 2:
        return 1.0
    # What is nearer than a thousandth of the usual distance is as good as the same.
    least = 1e-3 * distances[:, -1:].clamp_min(torch.finfo(distances.dtype).tiny)
    distances = distances.clamp_min(least)
    return float((distances[:, 1:] / distances[:, :-1]).amax(1).median())


def branches_apart(hx: Tensor, hy: Tensor) -> float:
    """`mean_d (mean (hx - hy))_d^2 / (var (hx - hy)_d / N)`: near 1 for two views through one network, however few.

    Views that are exchangeable have differences of mean zero. Far above 1 where hx and hy are made by two networks, as
    a prediction and its target are; so for views that are augmented differently. Up to a million.
    """
    scale = torch.maximum(hx.abs().amax(), hy.abs().amax()).clamp_min(torch.finfo(hx.dtype).tiny)
    difference = hx / scale - hy / scale
    errors = difference.var(0, correction=0) / len(hx) + ROUNDING**2
    return min(1e6, float((difference.mean(0).square() / errors).mean()))


def told_apart(F: Scores, hx: Tensor, hy: Tensor) -> float:
    """How often a matching y has less energy than that of another sample (AUROC, ties half).

    With a latent over 128 samples and one other y each. An energy that does not depend on x at all, a density of y, is
    held against y whose features are those of different samples.
    """
    some = hx[:SOLVES], hy[:SOLVES]
    hx, hy = some if infers(F, hx, hy) else (hx, hy)
    other = others(len(hx)).to(hx.device)
    with torch.no_grad():
        matching, swapped = _energies(F, hx, hy), _energies(F, hx[other], hy)
        if bool(matching.equal(swapped)):
            return share_below(matching, _energies(F, hx, references(hy)["permuted"]))
        return share_below(matching, _energies(F, hx, hy[other]))


def left_of_wrong_pairs(F: Scores, hx: Tensor, hy: Tensor) -> float:
    """What share of its energy a pair that does not match keeps once its latent is inferred: near 0 if z says all.

    Of the energy with the latent of another sample, over 128 samples; 1 where there is no latent.
    """
    hx, hy = hx[:SOLVES], hy[:SOLVES]
    return usage(F, hx[others(len(hx)).to(hx.device)], hy)["other_z"]


def seen(codes: Tensor, directions: bool) -> Tensor:
    """Codes as the energy sees them: on the sphere where it sees directions alone."""
    return on_sphere(codes) if directions else codes


def _inverse(distances: Tensor, k: int) -> float:
    """The inverse dimension, `mean_ij log(r_ik / r_ij)`, `j < k`; what is as good as the same counts as such."""
    distances = distances[:, :k].clamp_min(ROUNDING * distances[:, -1:])
    return float((distances[:, -1:] / distances[:, :-1]).log().mean().clamp_min(ROUNDING))


def _directions(codes: Tensor) -> int:
    return max(1, min(len(codes) - 1, codes.shape[1]))


def _size(codes: Tensor) -> float:
    """The root of the mean squared length, which neither overflows nor vanishes."""
    peak = codes.abs().max()
    if not bool(peak > 0):
        return 0.0
    return float((codes / peak).square().sum(1).mean().sqrt() * peak)


def _finite(number: float) -> float:
    return min(number, 1e300)


def _energies(F: Scores, hx: Tensor, hy: Tensor) -> Tensor:
    """In double precision; one that is not a number counts as infinite."""
    return F(hx, hy).detach().double().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
