"""What a batch of codes has along its principal directions, from the smaller of its two matrices of products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ebm.regularizers.moments import branches, second_moment, transformed


def matching(regularizer: nn.Module, codes: tuple[Tensor, ...]) -> list[Tensor]:
    """The `branches` of which each row is another view of the same sample; raises ValueError unless of one shape."""
    whole = branches(regularizer, codes)
    if any(h.shape != whole[0].shape for h in whole):
        shapes = ", ".join(str(tuple(h.shape)) for h in whole)
        raise ValueError(f"{type(regularizer).__name__} needs branches of one shape, whose rows match, got {shapes}")
    return whole


def on_sphere(codes: Tensor) -> Tensor:
    """Codes of length one, `(N, D) -> (N, D)`;a code at the origin stays there."""
    return normalize(codes, dim=-1)


def missing(value: Tensor, most: float) -> Tensor:
    """`most - value`, of a value that is at most that but for rounding: never negative, with the same gradient."""
    left = most - value
    return left - left.detach().clamp_max(0)


def gram(codes: Tensor) -> Tensor:
    """`Z Z'` or `Z' Z` of codes `(N, D)`, whichever is smaller: both have the same eigenvalues, but for zeros.

    In the precision of the codes. Of what is then asked of small eigenvalues, make them double before: a product
    squares the range that its digits have to cover.
    """
    rows = codes.T if codes.shape[0] < codes.shape[1] else codes
    return second_moment(rows, rows) if transformed(rows) else _Gram.apply(rows)


def nuclear_norm(square: Tensor) -> Tensor:
    """The sum of the singular values of a matrix `Z`, of `square = Z Z'` or `Z' Z`: `(*batch, r, r) -> (*batch,)`.

    Its gradient is `U V'` over the directions that Z has, however often a singular value is repeated. A direction that
    Z lacks gets none, which is a subgradient there, where the norm has a kink.
    """
    finite = square.isfinite().all()
    values = torch.linalg.eigvalsh(torch.where(finite, square, 0))  # which raises, of all else, on NaN
    rounding = torch.finfo(values.dtype).eps * values.shape[-1] * values[..., -1:]
    there = values > rounding
    norm = torch.where(there, torch.where(there, values, 1).sqrt(), 0).sum(-1)
    return torch.where(finite, norm, torch.nan)


def whitened(codes: Tensor, epsilon: float) -> Tensor:
    """`L^-1 (h - mean)`, `L L' = (1 - epsilon) cov + epsilon I`, L lower triangular: `(N, D) -> (N, D)`, in float64.

    The covariance is over `N - 1`. NaN where it has no such factor: with an epsilon of zero and `N <= D`.
    """
    codes = codes.double()
    centred = codes - codes.mean(0)
    covariance = second_moment(centred, centred) / (len(codes) - 1)
    identity = torch.eye(codes.shape[1], dtype=codes.dtype, device=codes.device)
    factor = _cholesky((1 - epsilon) * covariance + epsilon * identity)
    return torch.linalg.solve_triangular(factor, centred.T, upper=False).T


def _cholesky(matrix: Tensor) -> Tensor:
    # The one that raises has to wait for the device to tell whether it should.
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return torch.where(failed > 0, torch.nan, factor)


class _Gram(torch.autograd.Function):
    """`rows' rows`, whose derivative by the chain rule of products would take both factors for different ones."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return second_moment(rows, rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        (rows,) = ctx.saved_tensors
        with torch.autocast(rows.device.type, enabled=False):
            return rows @ (gradient + gradient.T)
