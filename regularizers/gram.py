"""What a matrix `C = a'b / count` of codes has on and off its diagonal, at the cost of the smaller side of the codes.

Of fewer samples than features, `|a'b|^2 = <aa', bb'>` has the squares of all `D x D` entries from `N x N`, and what
stands on the diagonal is taken away. The features of so few samples cannot be uncorrelated: what is left is of the size
of what is taken away, unless a few columns hold most of the variance, and those are multiplied out by themselves.
Of as many samples as features, `C` itself is the smaller, and nothing is taken away.

Products are in the dtype of the codes, under autocast too. On CUDA a product in float32 has the three digits of TF32 if
`torch.set_float32_matmul_precision` was set below "highest", its default: it is a setting of the process.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ebm.processes import Batch
from ebm.regularizers.moments import transformed

LARGEST = 16  # columns multiplied out: as good as free beside a batch
BLOCK = 1024  # rows that are summed up at a time


def few(samples: int, features: int) -> bool:
    """Whether the rows are the smaller side."""
    return samples < features


def smaller_side(own: Tensor, batch: Batch) -> tuple[Tensor, Batch]:
    """Rows `(n, D)` and the batch that they are of: all rows on each process where they are `few`, else what came.

    So processes share rows in the first case, and sums over rows in the second: the smaller of the two.
    """
    return (batch.gather(own), Batch((batch.size,))) if few(batch.size, own.shape[1]) else (own, batch)


def redundancy(a: Tensor, count: int, batch: Batch) -> Tensor:
    """`sum_{i != j} C_ij^2` of `C = a'a / count`, to a scalar: `a` `(n, D)` are rows of the batch less their mean.

    Those of this process, but all of them where they are `few`. Differentiable once.
    """
    if transformed(a):
        return _plainly(a, a, count)[1]
    if few(batch.size, a.shape[1]):
        return _CovarianceOfFew.apply(a, count)
    return _MatrixOfMany.apply(a, None, count, batch.counts, batch.rank)[1]


def correlation(a: Tensor, b: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """The diagonal `(D,)` of `C = a'b / N`, and `sum_{i != j} C_ij^2`, of standardised codes `(n, D)`.

    The rows of this process, but all of the batch where they are `few`. Differentiable once.
    """
    if transformed(a):
        return _plainly(a, b, batch.size)
    if few(batch.size, a.shape[1]):
        return _CorrelationOfFew.apply(a, b, batch.size)
    return _MatrixOfMany.apply(a, b, batch.size, batch.counts, batch.rank)


def _plainly(a: Tensor, b: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The diagonal of `C = a'b / count` and `sum_{i != j} C_ij^2`, by what `torch.func` can transform."""
    with _precisely(a):
        diagonal = (a * b).sum(0) / count
        squares = (a @ a.T * (b @ b.T)).sum() if few(*a.shape) else (a.T @ b).square().sum()
    return diagonal, (squares / count**2 - diagonal.square().sum()).clamp_min(0)


def products(rows: Tensor) -> Tensor:
    """`aa'` of rows `(N, D)`, without most of the half above the diagonal: on a processor that is time saved."""
    gram = rows.new_empty(len(rows), len(rows))
    _fill(gram, rows, max(128, -(-len(rows) // 8)) if rows.device.type == "cpu" else len(rows))
    return gram


def _fill(gram: Tensor, rows: Tensor, few_enough: int) -> None:
    if len(rows) <= few_enough:
        gram.copy_(rows @ rows.T)
        return
    half = len(rows) // 2
    _fill(gram[:half, :half], rows[:half], few_enough)
    _fill(gram[half:, half:], rows[half:], few_enough)
    gram[half:, :half] = rows[half:] @ rows[:half].T
    gram[:half, half:] = gram[half:, :half].T


def once() -> None:
    """To be called in a derivative that is not one to differentiate: raises RuntimeError where that is wanted."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the products of Covariance and CrossCorrelation are differentiable once, and `create_graph` asks for more:"
            " take the gradient of this term by itself without it"
        )


class _CovarianceOfFew(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, count: int) -> Tensor:
        with _precisely(a):
            index = a.square().sum(0).topk(min(LARGEST, a.shape[1])).indices
            largest, rest = a.index_select(1, index), a.index_fill(1, index, 0)
            gram, squares = products(rest), rest.square().sum(0)
            cross, block = largest.T @ rest, (largest.T @ largest).fill_diagonal_(0)
            small = (_inner(gram, gram) - _inner(squares, squares)).clamp_min(0)
            value = small + 2 * _inner(cross, cross) + _inner(block, block)
        ctx.save_for_backward(rest, largest, index, gram, squares, cross, block)
        ctx.count = count
        return (value / count**2).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        once()
        rest, largest, index, gram, squares, cross, block = ctx.saved_tensors
        step = 4 / ctx.count**2 * slope
        with _precisely(rest):
            gradient = (step * gram) @ rest
            gradient.addmm_(step * largest, cross).addcmul_(rest, -step * squares)
            gradient.index_copy_(1, index, step * (gram @ largest + largest @ block))
        return gradient, None


class _CorrelationOfFew(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, count: int) -> tuple[Tensor, Tensor]:
        with _precisely(a):
            gram_a, gram_b, diagonal = products(a), products(b), (a * b).sum(0) / count
            off = _inner(gram_a, gram_b) / count**2 - _inner(diagonal, diagonal)
        ctx.save_for_backward(a, b, gram_a, gram_b, diagonal)
        ctx.count = count
        return diagonal, off.clamp_min(0).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, slopes: Tensor, slope: Tensor) -> Any:
        once()
        a, b, gram_a, gram_b, diagonal = ctx.saved_tensors
        step, weights = 2 / ctx.count**2 * slope, (slopes - 2 * slope * diagonal) / ctx.count
        with _precisely(a):
            return (
                ((step * gram_b) @ a).addcmul_(b, weights),
                ((step * gram_a) @ b).addcmul_(a, weights),
                None,
            )


class _MatrixOfMany(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor | None, count: int, counts: tuple[int, ...], rank: int
    ) -> tuple[Tensor, Tensor]:
        batch = Batch(counts, rank)
        with _precisely(a):
            matrix = batch.total(products(a.T) if b is None else a.T @ b).div_(count)
        diagonal = matrix.diagonal().clone()
        matrix.fill_diagonal_(0)
        ctx.save_for_backward(a, b, matrix)
        ctx.count, ctx.batch = count, batch
        return diagonal, matrix.square().sum()

    @staticmethod
    def backward(ctx: Any, slopes: Tensor, slope: Tensor) -> Any:
        once()
        a, b, matrix = ctx.saved_tensors
        slopes, slope = ctx.batch.total(slopes), ctx.batch.total(slope)
        pull = (2 / ctx.count * slope) * matrix
        pull.diagonal().copy_(slopes / ctx.count)
        with _precisely(a):
            if b is None:
                return 2 * (a @ pull), None, None, None, None
            return b @ pull.T, a @ pull, None, None, None


def _precisely(codes: Tensor) -> torch.autocast:
    return torch.autocast(codes.device.type, enabled=False)


def _inner(p: Tensor, q: Tensor) -> Tensor:
    """`sum p q` in float64, where torch sums in single: what is left of a difference is as exact as its terms."""
    blocks = zip(p.split(BLOCK), q.split(BLOCK), strict=True)
    return torch.stack([(x.double() * y.double()).sum() for x, y in blocks]).sum()
