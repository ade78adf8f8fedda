"""Linear systems `A w = b`, one for each sample, known by their products alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ebm.curvature import dense

Product = Callable[[Tensor], Tensor]  # (N, D) -> (N, D), symmetric, each row by itself


class LinearSolution(NamedTuple):
    """The solution `w` (N, D) of each system, and how good it is."""

    w: Tensor
    residual: Tensor
    """`|b - A w| / |b|`, (N,)."""
    curvature: Tensor
    """The smallest `v' A v / |v|^2` that was met, (N,): not above zero where A is not positive definite."""


def conjugate_gradients(product: Product, b: Tensor, tolerance: float, steps: int) -> LinearSolution:
    """Conjugate gradients (Hestenes and Stiefel 1952) for every row, each stopping by itself.

    A row stops when its residual is `tolerance |b|`, or on meeting a direction without positive curvature.
    """
    w, residual, direction = torch.zeros_like(b), b, b
    square = _dot(b, b)
    goal = tolerance**2 * square
    curvature = torch.full_like(square, torch.inf)
    going = square > goal
    interval = 1 if b.device.type == "cpu" else 16
    for step in range(steps):
        if step % interval == 0 and not bool(going.any()):
            break
        along = product(direction)
        bend = _dot(direction, along)
        curvature = torch.where(
            going, torch.minimum(curvature, bend / _positive(_dot(direction, direction))), curvature
        )
        going = going & (bend > 0)
        length = torch.where(going, square / torch.where(going, bend, 1), 0)[:, None]
        w, residual = w + length * direction, residual - length * along
        new = _dot(residual, residual)
        direction = torch.where(going[:, None], residual + (new / _positive(square))[:, None] * direction, direction)
        square = torch.where(going, new, square)
        going = going & (square > goal)
    return LinearSolution(w, (square / _positive(_dot(b, b))).sqrt(), curvature)


def solve_dense(product: Product, b: Tensor) -> LinearSolution:
    """The same by the matrix written out from `D` products: exact, and quicker for a few dozen columns at most.

    Where a matrix is singular the solution is the shortest one.
    """
    matrix = dense(product, b)
    factor, info = torch.linalg.cholesky_ex(matrix)
    if not bool(info.any()):
        w = torch.cholesky_solve(b[..., None], factor)[..., 0]
        # The least eigenvalue is at least this: the inverse's largest is at most its trace.
        curvature = 1 / torch.linalg.inv(factor).square().sum((-2, -1))
    else:
        values, axes = torch.linalg.eigh(matrix)
        least = values.shape[-1] * torch.finfo(b.dtype).eps * values.abs().amax(-1, keepdim=True)
        inverse = torch.where(values.abs() > least, 1 / torch.where(values.abs() > least, values, 1), 0)
        w = (axes @ (inverse * (axes.mT @ b[..., None])[..., 0])[..., None])[..., 0]
        curvature = torch.where(values.abs() > least, values, 0).amin(-1)
    left = torch.linalg.vector_norm(b - (matrix @ w[..., None])[..., 0], dim=-1)
    return LinearSolution(w, left / _positive(torch.linalg.vector_norm(b, dim=-1)), curvature)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _positive(a: Tensor) -> Tensor:
    return a.clamp_min(torch.finfo(a.dtype).tiny)
