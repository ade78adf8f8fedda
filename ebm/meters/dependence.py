"""Whether codes, or dimensions of one, depend on one another: linearly or in any other way."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from scipy.stats import chatterjeexi, chi2
from torch import Tensor

from ebm.meters.codes import checked, checked_pair
from ebm.meters.landscape import Scores
from ebm.meters.pair_sums import Gap, cross_on_a_line, factor, in_blocks, matrix, rows_on_a_line, unbiased
from ebm.meters.permutation import Significance, against_null, orders

PAIRS = 64
LEVEL = 0.05
ROWS = 1000  # of which the median distance is taken
ROUNDING = 1e-12


def hsic(x: Tensor, y: Tensor, widths: Sequence[float] = (1.0,)) -> float:
    """The unbiased HSIC of codes `(N, D)` and `(N, E)` with Gaussian kernels.  Song et al. 2012, eq. 5.

    `K_ij = mean_w exp(-|x_i - x_j|^2 / (2 (w m)^2))` over `widths` w, where m is the median of the distances between
    rows that differ (of 1,000 rows, if there are more): Gretton et al. 2007. Around 0 where x and y are independent,
    below as often as above, and about 1/4 at most; it has no unit, but values of unlike kernels do not compare: read
    it beside `hsic_test`. What is much finer than the narrowest kernel it does not see: for that,
    `widths=(0.25, 0.5, 1)`.

    Of single dimensions it takes time N, of more N^2. The regularizer `HSIC` is the biased estimate, at fixed widths,
    of all pairs of dimensions at once. Raises ValueError for fewer than four rows.
    """
    x, y = _comparable(x, y)
    gap_x, gap_y = _gap(x, widths), _gap(y, widths)
    if _on_lines(x, y):
        return float(_by_factors(factor(x, gap_x), factor(y, gap_y)))
    return float(unbiased(*in_blocks(x, y, gap_x, gap_y)))


def hsic_test(
    x: Tensor, y: Tensor, widths: Sequence[float] = (1.0,), permutations: int = 199, seed: int = 0
) -> Significance:
    """`permutation_test(hsic, x, y)` with kernels that are computed once: of more dimensions, in memory N^2."""
    x, y = _comparable(x, y)
    gap_x, gap_y = _gap(x, widths), _gap(y, widths)
    of_rows = _itself_and(orders(y, permutations, seed))
    if not _on_lines(x, y):
        return against_null(_covariances(matrix(x, gap_x), matrix(y, gap_y), of_rows))
    of_x, of_y = factor(x, gap_x), factor(y, gap_y)
    return against_null(torch.stack([_by_factors(of_x, of_y[order]) for order in of_rows]))


def distance_correlation(x: Tensor, y: Tensor) -> float:
    """`<A, B> / sqrt(<A, A> <B, B>)`, A and B the U-centred distances between rows.  Szekely and Rizzo 2014, eq. 2.3.

    Of codes `(N, D)` and `(N, E)`: the squared distance correlation, without bias up to the ratio. Around 0 where x and
    y are independent, below as often as above, and 1 where one is the other moved, turned and scaled; 0 for a code that
    is constant. It is small for what is not monotone, .02 for a spiral of 1.5 nats: read it beside its `chance`. Free
    of the scale of each code, though not of each dimension in it.

    Of single dimensions it takes time N log N, of more N^2. The regularizer `DistanceCorrelation` is the biased one,
    of all pairs of dimensions at once. Raises ValueError for fewer than four rows.
    """
    x, y = _comparable(x, y)
    if _on_lines(x, y):
        return float(_correlations_on_lines(x.T, y.T))
    cross, rows_x, rows_y = in_blocks(x, y, _distance, _distance)
    return float(unbiased(cross, rows_x, rows_y) * _inverse_norm(x, rows_x) * _inverse_norm(y, rows_y))


def distance_correlation_test(x: Tensor, y: Tensor, permutations: int = 199, seed: int = 0) -> Significance:
    """`permutation_test(distance_correlation, x, y)`, all orders at once: of more dimensions, in memory N^2."""
    x, y = _comparable(x, y)
    of_rows = _itself_and(orders(y, permutations, seed))
    if _on_lines(x, y):
        return against_null(_correlations_on_lines(x.T.expand(len(of_rows), -1), y[:, 0][of_rows]))
    a, b = matrix(x, _distance), matrix(y, _distance)
    return against_null(_covariances(a, b, of_rows) * _inverse_norm(x, a.sum(1)) * _inverse_norm(y, b.sum(1)))


def chance(correlation: float, rows: int) -> float:
    """`P(chi^2_1 > N R + 1)`, a p-value of the distance correlation R of N rows, without permutations.

    Shen, Panda and Vogelstein 2022: in the limit of many rows it is at least the true one where that is below .05, so
    that p-values of many pairs may be multiplied by their number. From some dozens of rows on it holds for normal,
    uniform, skewed and heavy tails and for coins; of a dimension that is not zero in a few rows only the
    greatest of many pairs is called dependent two to three times too often: then permute.
    """
    return float(chi2.sf(rows * correlation + 1, 1))


def chatterjee(x: Tensor, y: Tensor) -> float:
    """The greater of `xi(x, y)` and `xi(y, x)` of numbers `(N, 1)`: how far one is a function of the other.

    Chatterjee 2021, `scipy.stats.chatterjeexi`: in the limit 0 if and only if they are independent, and 1 where one is
    a function of the other. What is smooth it sees quickly, weak linear dependence late. 0 where either is constant.
    """
    x, y = checked_pair(x, y)
    if not _on_lines(x, y):
        raise ValueError(f"xi is of two numbers, (N, 1) each, got {tuple(x.shape)} and {tuple(y.shape)}: take columns")
    if bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return 0.0
    a, b = x[:, 0].cpu().numpy(), y[:, 0].cpu().numpy()
    return float(max(chatterjeexi(a, b).statistic, chatterjeexi(b, a).statistic))


class Pairwise(NamedTuple):
    """A statistic of pairs of dimensions."""

    pairs: Tensor  # (P, 2), the lower dimension first
    values: Tensor  # (P,)

    @property
    def mean(self) -> float:
        """0 where there is no pair."""
        return float(self.values.mean()) if len(self.values) else 0.0

    @property
    def greatest(self) -> float:
        """0 where there is no pair."""
        return float(self.values.max()) if len(self.values) else 0.0

    def share(self, above: float) -> float:
        """The share of pairs with more than that, 0 where there is no pair."""
        return float((self.values > above).double().mean()) if len(self.values) else 0.0


NOTHING = Pairwise(torch.empty(0, 2, dtype=torch.long), torch.empty(0))


def pairwise(
    codes: Tensor, statistic: Callable[[Tensor, Tensor], float], pairs: int | None = PAIRS, seed: int = 0
) -> Pairwise:
    """`statistic(codes[:, [i]], codes[:, [j]])` of pairs i < j of dimensions: so many drawn, or all (`None`)."""
    codes = checked(codes)
    chosen = _pairs(codes.shape[1], pairs, seed)
    values = [statistic(codes[:, [i]], codes[:, [j]]) for i, j in chosen.tolist()]
    return Pairwise(chosen, torch.tensor(values, dtype=torch.float64))


def distance_correlations(codes: Tensor, pairs: int | None = PAIRS, seed: int = 0) -> Pairwise:
    """`pairwise(codes, distance_correlation)`, many pairs at once."""
    codes = checked(codes, rows=4)
    chosen = _pairs(codes.shape[1], pairs, seed)
    if not len(chosen):
        return NOTHING
    x, y = (torch.cat([_scaled(codes[:, [i]]) for i in side], 1).T for side in chosen.T.tolist())
    return Pairwise(chosen, _correlations_on_lines(x, y).cpu())


def dependence(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Distance correlation between dimensions of the codes of y, over 64 pairs that are drawn once and for all.

    The mean and the greatest of them; `p`, the p-value of the greatest, times the number of pairs; and the share of
    pairs that are dependent at the level .05, all of them taken together, both by `chance`. Fewer than four codes or
    two dimensions tell nothing: 0, and p = 1.

    It does not see what only three dimensions or more have in common (parity), what a rotation hides from pairs of
    axes, nor, of more than a dozen dimensions, a pair that was not drawn. Of many codes a weak dependence is sure,
    which is not to say that it matters: that is what the mean is for.
    """
    hy = checked(hy)
    found = distance_correlations(hy) if len(hy) >= 4 else NOTHING
    tried = max(1, len(found.values))
    significant = (float(chi2.isf(LEVEL / tried, 1)) - 1) / len(hy)
    return {
        "distance_correlation": found.mean,
        "distance_correlation_greatest": found.greatest,
        "distance_correlation_p": min(1.0, tried * chance(found.greatest, len(hy))) if len(found.values) else 1.0,
        "dependent_pairs": found.share(above=significant),
    }


def _comparable(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    x, y = checked_pair(x, y, rows=4)
    return _scaled(x), _scaled(y)


def _scaled(codes: Tensor) -> Tensor:
    """The codes, moved to a mean of 0 and divided by one number so that no distance over- or underflows."""
    codes = codes - codes[0]  # exactly 0 where all are the same
    codes = codes / codes.abs().max().clamp_min(torch.finfo(codes.dtype).tiny)
    return codes - codes.mean(0)


def _on_lines(x: Tensor, y: Tensor) -> bool:
    return x.shape[1] == y.shape[1] == 1


def _distance(distances: Tensor) -> Tensor:
    return distances


def _gap(codes: Tensor, widths: Sequence[float]) -> Gap:
    """One minus the kernel, as a function of distances."""
    if not widths or min(widths) <= 0:
        raise ValueError(f"HSIC needs kernels of positive width, got widths={list(widths)}")
    chosen = torch.randperm(len(codes), generator=torch.Generator().manual_seed(0))[:ROWS]
    distances = torch.pdist(codes[chosen.to(codes.device)])
    apart = distances[distances > 0]
    median = apart.median() if len(apart) else distances.new_ones(())
    return partial(_one_minus_kernel, scales=[-0.5 / (width * median).square() for width in widths])


def _one_minus_kernel(distances: Tensor, scales: Sequence[Tensor]) -> Tensor:
    squares = distances.square()
    total = torch.zeros_like(squares)
    for scale in scales:
        total -= (squares * scale).expm1_()
    return total.div_(len(scales))


def _by_factors(of_x: Tensor, of_y: Tensor) -> Tensor:
    """The unbiased HSIC of kernels `F F'`, whose rows sum to 0: without the diagonal, to minus what stood on it."""
    on_x, on_y = of_x.square().sum(1), of_y.square().sum(1)
    return unbiased((of_x.T @ of_y).square().sum() - (on_x * on_y).sum(), -on_x, -on_y)


def _inverse_norm(codes: Tensor, rows: Tensor) -> Tensor:
    """`1 / |A|` of the U-centred distances of centred codes `(..., N, D)` with row sums `(..., N)`; 0 where it is 0."""
    n = codes.shape[-2]
    squares = 2 * n * codes.square().sum((-2, -1))
    norm = unbiased(squares, rows, rows)
    return torch.where(norm * n**2 > ROUNDING * squares, norm.rsqrt(), 0)


def _correlations_on_lines(x: Tensor, y: Tensor) -> Tensor:
    """Of numbers `(P, N)`, each row by itself, to `(P,)`."""
    rows_x, rows_y = rows_on_a_line(x), rows_on_a_line(y)
    covariances = unbiased(cross_on_a_line(x, y), rows_x, rows_y)
    return covariances * _inverse_norm(x[..., None], rows_x) * _inverse_norm(y[..., None], rows_y)


def _itself_and(permuted: Tensor) -> Tensor:
    """Orders of rows, the one they came in first."""
    return torch.cat([torch.arange(permuted.shape[1], device=permuted.device)[None], permuted])


def _covariances(a: Tensor, b: Tensor, of_rows: Tensor) -> Tensor:
    """`unbiased` of matrices `(N, N)`, with the rows and columns of the second in each of the orders `(P, N)`."""
    rows_a, rows_b = a.sum(1), b.sum(1)
    crosses = [(a * b[order].index_select(1, order)).sum() for order in of_rows]
    return torch.stack([unbiased(c, rows_a, rows_b[order]) for c, order in zip(crosses, of_rows, strict=True)])


def _pairs(dimensions: int, pairs: int | None, seed: int) -> Tensor:
    """Pairs i < j of dimensions `(P, 2)`, drawn without repetition, or all."""
    total = dimensions * (dimensions - 1) // 2
    if pairs is None or pairs >= total:
        return torch.combinations(torch.arange(dimensions))
    if pairs < 1:
        raise ValueError(f"at least 1 pair of dimensions is needed, got pairs={pairs}: None takes all")
    drawn = [(k, (1 + math.isqrt(1 + 8 * k)) // 2) for k in random.Random(seed).sample(range(total), pairs)]
    return torch.tensor([(k - j * (j - 1) // 2, j) for k, j in drawn])
