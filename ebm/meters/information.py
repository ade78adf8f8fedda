"""How much codes tell of one another, in nats, by counting neighbours; and what normal codes of their covariance would.

Neighbours are counted on the CPU, wherever the codes are.
"""

from __future__ import annotations

import math

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from ebm.meters.codes import checked, checked_pair
from ebm.meters.dependence import pairwise
from ebm.meters.landscape import Scores
from ebm.meters.neighbors import drawn

EPS = torch.finfo(torch.float64).eps
TIES = 1e-10  # in standard deviations: what breaks ties, and nothing else
ROWS = 256  # whose distances to all are in memory at once
WORK = 2**29  # comparisons of numbers, where neighbours in many dimensions are looked for
PAIRS = 32  # of dimensions that the meter reads


def mutual_information(x: Tensor, y: Tensor, neighbors: int = 3, samples: int | None = None) -> float:
    """`psi(k) + psi(N) - mean_i [psi(n_x(i) + 1) + psi(n_y(i) + 1)]` of codes `(N, dx)` and `(N, dy)`, in nats.

    Algorithm 1 of Kraskov, Stoegbauer and Grassberger 2004 (eq. 8): `n_x(i)` counts the x nearer to that of row i than
    the k-th neighbour of row i in x and y together is, by the largest difference in any dimension. The default is
    k = 3, of the 2 to 4 that they advise. Each dimension is first divided by its standard deviation and ties are broken
    by fixed noise of 1e-10 of it, as they advise; an x or y that does not vary tells nothing (0). Not clipped at 0:
    what is below it is the size of the error.

    From 0 (independent) to about `log N` (each tells the other). What it cannot see: weak dependence (a
    correlation of .2, which is .02 nats, is told from none with power .15 at N = 256 and .30 at 1,024), more than about
    `log N`, and dependence that is spread over many dimensions, where it is far too low: of normal codes of 10 and 10
    dimensions that share 6.0 nats it reads 2.7 at N = 4,096.

    Costs `N log N` in two dimensions and `N^2` in many: the mean is over a sample of rows, drawn by their place, where
    all would take more than 2^29 comparisons of numbers (16,000 rows of 1 and 1, 5,000 of 10 and 10), or over `samples`
    of them, `len(x)` for all. Raises ValueError for codes that `checked_pair` refuses and for fewer than 1 neighbour.
    """
    x, y = (standardised(codes) for codes in checked_pair(x, y))
    if not x.shape[1] or not y.shape[1]:
        return 0.0
    joint = _untied(torch.cat([x, y], 1))
    rows, radii = _radii(joint, neighbors, samples)
    inside = [_inside(part, rows, radii) for part in joint.split([x.shape[1], y.shape[1]], 1)]
    return _dependence(torch.stack(inside), len(joint), neighbors)


def total_correlation(codes: Tensor, neighbors: int = 3, samples: int | None = None) -> float:
    """`psi(k) + (D - 1) psi(N) - sum_d mean_i psi(n_d(i) + 1)` of the dimensions of codes `(N, D)`, in nats.

    `mutual_information` between more than two variables, each of one dimension (Kraskov et al. 2004, their algorithm 1
    for m variables): what all dimensions together have less of entropy than one by one, pairs and beyond. Dimensions
    that do not vary count nothing. What it cannot see and what it costs is as there. Too low in many dimensions: of the
    parity of three (`log 2` = .69 nats, and no two know anything) it reads .59 at N = 4,096, of 64 normal dimensions of
    correlation .5 (20.1 nats) 9.3 at N = 2,048; a surface of dimension 2 there, where it is infinite, 48.
    """
    codes = standardised(checked(codes))
    if codes.shape[1] < 2:
        return 0.0
    joint = _untied(codes)
    rows, radii = _radii(joint, neighbors, samples)
    return _dependence(_inside_each(joint, rows, radii), len(joint), neighbors)


def gaussian_total_correlation(codes: Tensor) -> float:
    """`-log det(R) / 2`, `R` the correlations between the dimensions of codes `(N, D)`: that of normal codes, in nats.

    From 0 (no correlation) upwards. Dimensions that do not vary count nothing; of eigenvalues of R that are below
    rounding (`eps max(N, D)`, about 1e-12) each counts as much, 14 nats: finite where codes are fewer than
    dimensions or one of these is a sum of others. What it cannot see: any dependence that is no correlation, such as a
    spiral. Of independent codes it is about `D^2 / (4 N)`. Raises ValueError for codes that `checked` refuses.
    """
    codes = standardised(checked(codes))
    floor = EPS * max(codes.shape)
    logs = torch.linalg.eigvalsh(gram(codes)).clamp_min(floor).log().sum()
    missing = max(0, codes.shape[1] - len(codes))
    return max(0.0, -(float(logs) + missing * math.log(floor)) / 2)  # 0 for none but for rounding


def redundancy(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """What dimensions of the codes of y tell of one another, in nats.

    `redundancy` and `redundancy_greatest` are the mean and the greatest `mutual_information` over 32 pairs of
    dimensions, drawn with a fixed seed (all where there are no more), `redundancy_gaussian` is the
    `gaussian_total_correlation` over D. The first two see curved dependence within pairs of axes: not that of rotated
    codes, whose pairs tell little each, nor among three; and of a single pair in many dimensions only what was drawn.
    The last sees all directions, but correlation alone. 0 where there is one dimension.
    """
    codes = checked(hy)
    found = pairwise(codes, mutual_information, PAIRS)
    return {
        "redundancy": found.mean,
        "redundancy_greatest": found.greatest,
        "redundancy_gaussian": gaussian_total_correlation(codes) / codes.shape[1],
    }


def standardised(codes: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 in each dimension, without those that vary by no more than rounding."""
    peaks = codes.abs().amax(0).clamp_min(torch.finfo(codes.dtype).tiny)
    codes = codes / peaks  # whose squares are neither too large nor too small for the format
    deviations = codes.std(0, correction=0)
    varies = deviations > EPS * max(codes.shape)
    return (codes - codes.mean(0))[:, varies] / deviations[varies]


def gram(codes: Tensor) -> Tensor:
    """Products over N of dimensions `(D, D)`, or of rows `(N, N)` where these are fewer: the same eigenvalues but 0."""
    products = codes.T @ codes if codes.shape[1] <= len(codes) else codes @ codes.T
    return products / len(codes)


def _untied(codes: Tensor) -> Tensor:
    noise = torch.randn(codes.shape, generator=torch.Generator().manual_seed(0), dtype=codes.dtype)
    return codes.cpu() + TIES * noise


def _radii(joint: Tensor, neighbors: int, samples: int | None) -> tuple[Tensor, Tensor]:
    """The rows that are looked at, and how far their k-th neighbour is by the largest difference in any dimension."""
    if neighbors < 1:
        raise ValueError(f"neighbours are counted up to the k-th, `neighbors` of 1 at least, got {neighbors}")
    rows = drawn(len(joint), max(1, WORK // joint.numel()) if samples is None else samples)
    table = joint.numpy()
    rank = min(neighbors, len(joint) - 1) + 1  # the first is the row itself
    radii, _ = cKDTree(table).query(table[rows], [rank], p=float("inf"), workers=torch.get_num_threads())
    return rows, torch.from_numpy(radii[:, 0])


def _inside(part: Tensor, rows: Tensor, radii: Tensor) -> Tensor:
    """How many of `part` (N, d) are nearer to each of its rows than `radii` (n,), itself among them, `(n,)`."""
    if part.shape[1] == 1:
        return _inside_each(part, rows, radii)[0]
    blocks = zip(rows.split(ROWS), radii.split(ROWS), strict=True)
    return torch.cat([(torch.cdist(part[i], part, p=float("inf")) < r[:, None]).sum(1) for i, r in blocks])


def _inside_each(codes: Tensor, rows: Tensor, radii: Tensor) -> Tensor:
    """The same of each dimension of codes `(N, D)` by itself, by sorting, `(D, n)`."""
    columns = codes.T.contiguous()
    ordered, centres = columns.sort().values, columns[:, rows]
    # Sums are off by rounding, and what lies at the radius itself, as one of the two does, is not to be counted.
    within = radii - 4 * EPS * (radii + centres.abs())
    return torch.searchsorted(ordered, centres + within) - torch.searchsorted(ordered, centres - within)


def _dependence(inside: Tensor, count: int, neighbors: int) -> float:
    """From the counts `(parts, n)` with the row itself, which are `n_d(i) + 1`."""
    known, whole = torch.digamma(torch.tensor([min(neighbors, count - 1), count], dtype=torch.float64))
    of_parts = inside.clamp_min(1).double().digamma().mean(1).sum()
    return float(known + (len(inside) - 1) * whole - of_parts)
