"""Least squares with a penalty, for many penalties at the price of one, and which of them foretells best."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PENALTIES = tuple(10.0**power for power in range(-6, 3))


def fitted(
    features: Tensor, targets: Tensor, penalties: Sequence[float], validation: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """`W` (D, K) and `b` (K,) that minimise `|X W + b - Y|^2 / N + penalty |W|^2`, with the best of the penalties.

    Best is the least squared error over `validation`, features and targets, else over each row foretold from all others
    (`leave_one_out`); of equals the largest. By the eigenvectors of the smaller of the two Gram matrices, in float64.
    """
    centre, level = features.mean(0), targets.mean(0)
    x, y = features - centre, targets - level
    wide = x.shape[1] > len(x)
    values, axes = torch.linalg.eigh(x @ x.T if wide else x.T @ x)
    values = values.clamp_min(0)
    along = axes.T @ (y if wide else x.T @ y)

    def weights(penalty: float) -> Tensor:
        solved = axes @ (along / (values + penalty * len(x))[:, None])
        return x.T @ solved if wide else solved

    if validation is None:
        parts = axes if wide else (x @ axes) / values.clamp_min(torch.finfo().tiny).sqrt()
        errors = [_left_out(parts, values, y, penalty * len(x)) for penalty in penalties]
    else:
        held_out, answers = validation[0] - centre, validation[1] - level
        errors = [(held_out @ weights(penalty) - answers).square().mean() for penalty in penalties]
    ordered = sorted(zip(torch.stack(errors).nan_to_num(nan=torch.inf).tolist(), (-p for p in penalties), strict=True))
    best = weights(-ordered[0][1])
    return best, level - centre @ best


def _left_out(parts: Tensor, values: Tensor, y: Tensor, penalty: float) -> Tensor:
    """The mean squared error of each row foretold from all others: `(y - H y) / (1 - h)` by row (Allen 1974)."""
    shrunk = parts * (values / (values + penalty))
    hat = (shrunk * parts).sum(1) + 1 / len(y)  # of the offset too
    left = (y - shrunk @ (parts.T @ y)) / (1 - hat).clamp_min(torch.finfo().eps)[:, None]
    return left.square().mean()
