"""Dependence between the dimensions of a code, all pairs of them at the price of each one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Kernel = Callable[[Tensor], tuple[Tensor, Tensor]]
"""An even function of differences, and its derivative, in new tensors."""

BLOCK = 2**17  # numbers of the kernel matrices that are worked on at a time, unless one alone has more


def standardised(codes: Tensor, epsilon: float) -> Tensor:
    """Codes `(N, D)` of mean 0 and variance 1 over the batch; epsilon, added to the variance, spares the constant."""
    return (codes - codes.mean(0)) / (codes.var(0, correction=0) + epsilon).sqrt()


def sum_over_pairs(codes: Tensor, kernel: Kernel, floor: float | None = None) -> Tensor:
    """`sum_{i < j} <B_i, B_j> = (|sum_i B_i|^2 - sum_i |B_i|^2) / 2`, of codes `(N, D)` to a scalar.

    `B_i = A_i`, or with a floor `A_i / sqrt(|A_i|^2 + floor)`; `A_i = H K_i H`, `H = I - 1 1' / N`, is the centred
    matrix of what the kernel makes of the differences in dimension i. It costs D N^2 and not D^2 N^2, and the
    matrices of all dimensions never stand in memory at once: they are made again on the way back. Differentiable
    once.
    """
    return _SumOverPairs.apply(codes, kernel, floor)


class _SumOverPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, codes: Tensor, kernel: Kernel, floor: float | None) -> Tensor:
        total, squares = codes.new_zeros(len(codes), len(codes)), codes.new_zeros(())
        for dimensions in _blocks(codes):
            matrices = _centred(kernel(_differences(dimensions))[0])
            if floor is not None:
                matrices /= _norms(matrices, floor)
            total += matrices.sum(0)
            squares += matrices.square().sum()
        ctx.save_for_backward(codes, total)
        ctx.kernel, ctx.floor = kernel, floor
        return (total.square().sum() - squares).clamp_min(0) / 2  # rounding alone makes it negative

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> Any:
        codes, total = ctx.saved_tensors
        gradients = []
        for dimensions in _blocks(codes):
            values, slopes = ctx.kernel(_differences(dimensions))
            matrices = _centred(values)
            pull = _pull(total, matrices) if ctx.floor is None else _pull_of_normed(total, matrices, ctx.floor)
            gradients.append((pull * slopes).sum(2))
        # Each difference stands in two places of a symmetric matrix.
        return 2 * slope * torch.cat(gradients).T, None, None


def _pull(total: Tensor, matrices: Tensor) -> Tensor:
    """The derivative of the sum over pairs by the centred matrix of each dimension."""
    return total - matrices


def _pull_of_normed(total: Tensor, matrices: Tensor, floor: float) -> Tensor:
    """The same where these are then divided by their norms."""
    norms = _norms(matrices, floor)
    normed = matrices / norms
    pull = total - normed
    return (pull - (pull * normed).sum((1, 2), keepdim=True) * normed) / norms


def _blocks(codes: Tensor) -> tuple[Tensor, ...]:
    """Some dimensions at a time, `(d, N)`."""
    return codes.T.contiguous().split(max(1, BLOCK // len(codes) ** 2))


def _differences(dimensions: Tensor) -> Tensor:
    return dimensions[:, :, None] - dimensions[:, None, :]


def _centred(matrices: Tensor) -> Tensor:
    """`H K H` of symmetric matrices `(d, N, N)`: every row and column has mean zero."""
    rows = matrices.mean(2)
    return matrices.sub_(rows[:, :, None]).sub_((rows - rows.mean(1, keepdim=True))[:, None, :])


def _norms(matrices: Tensor, floor: float) -> Tensor:
    """`(d, 1, 1)`."""
    return (matrices.square().sum((1, 2), keepdim=True) + floor).sqrt()
