"""Sums over all pairs of rows, of which measures of dependence are made: in blocks, on a line, and by factors."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Gap = Callable[[Tensor], Tensor]
"""What a distance counts for, elementwise; 0 for a distance of 0."""

BLOCK = 2**20  # numbers of a matrix over pairs that are worked on at a time
SMALL = 32  # rows of which all pairs are taken at once
RESIDUAL = 1e-13  # of the trace, where the factor of a kernel ends


def unbiased(cross: Tensor, rows_x: Tensor, rows_y: Tensor) -> Tensor:
    """`[cross - 2 <r, s> / (N - 2) + sum r sum s / ((N - 1)(N - 2))] / (N (N - 3))`, with `cross = sum_{i != j} A B`.

    Of matrices A and B over pairs that are zero on the diagonal, with row sums r and s `(..., N)`; `cross` is `(...)`.
    The inner product of the U-centred matrices (Szekely and Rizzo 2014, eq. 2.2), and the HSIC of kernels without their
    diagonals (Song et al. 2012, eq. 5). What is added to all of one row and of its column changes nothing.
    """
    n = rows_x.shape[-1]
    margins = rows_x.sum(-1) * rows_y.sum(-1) / (n - 1) - 2 * (rows_x * rows_y).sum(-1)
    return (cross + margins / (n - 2)) / (n * (n - 3))


def matrix(x: Tensor, gap: Gap) -> Tensor:
    """`A_ij = gap(|x_i - x_j|)` of rows `(N, D)`, `(N, N)`."""
    return _stripe(x, 0, len(x), gap)


def in_blocks(x: Tensor, y: Tensor, gap_x: Gap, gap_y: Gap) -> tuple[Tensor, Tensor, Tensor]:
    """`sum_ij A_ij B_ij`, and the row sums of A and of B, the `matrix` of x and of y, which never stand in memory."""
    height = max(1, BLOCK // len(x))
    crosses, rows_x, rows_y = [], [], []
    for start in range(0, len(x), height):
        a, b = _stripe(x, start, start + height, gap_x), _stripe(y, start, start + height, gap_y)
        crosses.append((a * b).sum())
        rows_x.append(a.sum(1))
        rows_y.append(b.sum(1))
    return torch.stack(crosses).sum(), torch.cat(rows_x), torch.cat(rows_y)


def _stripe(x: Tensor, start: int, stop: int, gap: Gap) -> Tensor:
    rows = x[start:stop]
    if x.shape[1] == 1:
        return gap((rows - x.T).abs())
    # Products of matrices are many times faster, and what they lose of a distance is 1e-8 of the code's radius.
    mode = "donot_use_mm_for_euclid_dist" if x.shape[1] <= 16 else "use_mm_for_euclid_dist"
    distances = torch.cdist(rows, x, compute_mode=mode)
    distances.diagonal(start).zero_()
    return gap(distances)


def rows_on_a_line(x: Tensor) -> Tensor:
    """`sum_j |x_i - x_j|` of numbers `(P, N)`, each row by itself, by sorting."""
    ordered, order = x.sort(-1)
    n = x.shape[-1]
    rank = torch.arange(n, dtype=x.dtype, device=x.device)
    before = ordered.cumsum(-1) - ordered
    sums = (2 * rank - n) * ordered + ordered.sum(-1, keepdim=True) - 2 * before
    return torch.empty_like(x).scatter_(-1, order, sums)


def cross_on_a_line(x: Tensor, y: Tensor) -> Tensor:
    """`sum_ij |x_i - x_j| |y_i - y_j|` of numbers `(P, N)`, each row by itself, to `(P,)`, in time N log N.

    By merging, as Huo and Szekely 2016 and Chaudhuri and Hu 2019, here from the top down: at every level each half of
    the rows in the order of x meets its other half in the order of y.
    """
    height = max(1, BLOCK // (SMALL * x.shape[1]))
    alike = torch.cat([_alike(*some) for some in zip(x.split(height), y.split(height), strict=True)])
    products = x.shape[1] * (x * y).sum(-1) - x.sum(-1) * y.sum(-1)
    return 4 * alike - 2 * products


def _alike(x: Tensor, y: Tensor) -> Tensor:
    """`sum_{i < j} max(0, (x_i - x_j)(y_i - y_j))`, `(P, N)` to `(P,)`."""
    count = x.shape[1]
    levels = max(0, math.ceil(math.log2(count / SMALL)))
    spare = -(-count // 2**levels) * 2**levels - count
    x, order = x.sort(-1)
    y = y.gather(-1, order)
    # Rows are added until they halve evenly, all at the upper corner, and their share is taken away.
    last_x, last_y = x[:, -1:], y.amax(1, keepdim=True)
    corner = ((last_x - x) * (last_y - y)).sum(1)
    x, y = (torch.cat([a, last.expand(-1, spare)], 1) for a, last in ((x, last_x), (y, last_y)))
    total = _in_small(x.view(len(x), 2**levels, -1), y.view(len(y), 2**levels, -1)) - spare * corner
    y, place = y.sort(-1)
    x = x.gather(-1, place)
    for level in range(levels):
        x, y, place = (a.view(len(x), 2**level, -1) for a in (x, y, place))
        left = _left(place)
        below, rank, half = left.cumsum(-1), torch.arange(place.shape[-1], device=x.device), place.shape[-1] // 2
        total += _across(x, y, left, below, half + below - rank - 1)
        to = torch.where(left, below - 1, half + rank - below)
        x, y, place = (torch.empty_like(a).scatter_(-1, to, a) for a in (x, y, place))
    return total


def _left(place: Tensor) -> Tensor:
    """Which rows of each block `(P, blocks, size)` stand in the first half of its places."""
    blocks, size = place.shape[1:]
    middles = torch.arange(blocks, device=place.device)[:, None] * size + size // 2
    return place < middles


def _in_small(x: Tensor, y: Tensor) -> Tensor:
    """The sum over pairs within the blocks `(P, blocks, size)`."""
    products = (x[..., :, None] - x[..., None, :]) * (y[..., :, None] - y[..., None, :])
    return products.clamp_min_(0).sum((1, 2, 3)) / 2


def _across(x: Tensor, y: Tensor, left: Tensor, below: Tensor, above: Tensor) -> Tensor:
    """The sum over pairs of one row on the left and one above it on the right, of blocks in the order of y.

    As the sum over steps of y of `sum (x_j - x_i)` over the rows i on the left up to the step and j on the right beyond
    it, of which there are `below` and `above`.
    """
    sum_below = (x * left).cumsum(-1)
    sum_right = x.cumsum(-1) - sum_below
    sum_above = sum_right[..., -1:] - sum_right
    widths = (below * sum_above).sub_(above * sum_below)
    return (widths[..., :-1] * y.diff(dim=-1)).sum((1, 2))


def factor(x: Tensor, gap: Gap) -> Tensor:
    """Features F `(N, r)` with `F F' = H K H`, of a kernel `K_ij = 1 - gap(|x_i - x_j|)` and `H = I - 1 1' / N`.

    By the pivoted Cholesky decomposition, until what is left of the trace is 1e-13 of it. Smooth kernels of numbers
    `(N, 1)` have a rank of some dozens, whatever N is.
    """
    left = x.new_ones(len(x))
    columns: list[Tensor] = []
    while len(columns) < len(x) and float(left.mean()) > RESIDUAL:
        pivot = left.argmax()
        known = torch.stack(columns, 1) if columns else x.new_zeros(len(x), 0)
        column = 1 - gap((x - x[pivot]).abs().squeeze(1)) - known @ known[pivot]
        columns.append(column / left[pivot].sqrt())
        left = (left - columns[-1].square()).clamp_min(0)
    features = torch.stack(columns, 1)
    return features - features.mean(0)
