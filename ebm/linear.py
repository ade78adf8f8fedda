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
    size = b.abs().amax(-1, keepdim=True)  # squares of what is very small or large would vanish or overflow
    size = torch.where(size > 0, size, 1)
    b = b / size
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
    return LinearSolution(size * w, (square / _positive(_dot(b, b))).sqrt(), curvature)


def solve_dense(product: Product, b: Tensor) -> LinearSolution:
    """The same by the matrix written out from `D` products: exact, and quicker for a few dozen columns at most.

    Where a matrix is singular the solution is the shortest one.
    """
    matrix = dense(product, b)
    known = matrix.isfinite().all(-1).all(-1)[:, None, None]
    matrix = torch.where(known, matrix, 0)  # no factor of the others fails because of one that is not a number
    factor, info = torch.linalg.cholesky_ex(matrix)
    # The least eigenvalue is at least this: the inverse's largest is at most its trace.
    identity = torch.eye(matrix.shape[-1], dtype=b.dtype, device=b.device).expand_as(matrix)
    curvature = 1 / torch.linalg.solve_triangular(factor, identity, upper=False).square().sum((-2, -1))
    rounding = matrix.shape[-1] * torch.finfo(b.dtype).eps * matrix.diagonal(dim1=-2, dim2=-1).amax(-1)
    if bool(((info == 0) & (curvature > rounding)).all()):
        w = torch.cholesky_solve(b[..., None], factor)[..., 0]
    else:
        values, axes = torch.linalg.eigh(matrix)
        least = values.shape[-1] * torch.finfo(b.dtype).eps * values.abs().amax(-1, keepdim=True)
        inverse = torch.where(values.abs() > least, 1 / torch.where(values.abs() > least, values, 1), 0)
        w = (axes @ (inverse * (axes.mT @ b[..., None])[..., 0])[..., None])[..., 0]
        curvature = torch.where(values.abs() > least, values, 0).amin(-1)
    w = torch.where(known[..., 0] | (b == 0).all(-1, keepdim=True), w, torch.nan)
    left = torch.linalg.vector_norm(b - (matrix @ w[..., None])[..., 0], dim=-1)
    return LinearSolution(w, left / _positive(torch.linalg.vector_norm(b, dim=-1)), curvature)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _positive(a: Tensor) -> Tensor:
    return a.clamp_min(torch.finfo(a.dtype).tiny)
