"""No two dimensions of the code should depend on one another, linearly or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from ebm.processes import agreed
from ebm.regularizers.blocks import sum_over_blocks
from ebm.regularizers.dimensions import standardised, sum_over_pairs
from ebm.regularizers.moments import branches, second_moment

WIDTHS = (0.25, 0.5, 1.0)


@final
class HSIC(nn.Module):
    """`sum_{i < j} tr(K_i H K_j H) / (N - 1)^2` over pairs of dimensions, mean over branches.

    `K_i[n, m] = mean_w exp(-(h_ni - h_mi)^2 / 2 w^2)` over the widths w, `H = I - 1 1' / N`: the Hilbert-Schmidt
    independence criterion, Gretton et al. 2005 (its estimate, biased by order 1 / N), of dimensions that have been
    standardised with the biased variance plus epsilon. Zero in the limit of many samples if and only if all pairs are
    independent; of three dimensions that depend on one another, but no two of them, it sees nothing: see `SIGReg`.

    The default widths are ours: 1 is about the median distance between standard normal samples, a common choice, and
    the narrower ones see what is finer, such as a spiral. It does not see the scale of a code: add `Variance`.
    """

    def __init__(self, widths: Sequence[float] = WIDTHS, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.widths, self.epsilon = _checked(self, widths), epsilon

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        dependence = [self._dependence(standardised(h, self.epsilon)) for h in branches(self, codes)]
        return torch.stack(dependence).mean()

    def _dependence(self, codes: Tensor) -> Tensor:
        return sum_over_pairs(codes, self._kernel) / (len(codes) - 1) ** 2

    def _kernel(self, differences: Tensor) -> tuple[Tensor, Tensor]:
        squares = differences.square()
        values, slopes = torch.zeros_like(squares), torch.zeros_like(squares)
        for width in self.widths:
            kernel = (squares * (-0.5 / width**2)).exp_()
            values += kernel
            slopes.sub_(kernel, alpha=1 / width**2)
        return values.div_(len(self.widths)), slopes.mul_(differences).div_(len(self.widths))


@final
class RandomFeatureHSIC(nn.Module):
    """`sum_{i < j} |P_i' H P_j|_F^2 / (N - 1)^2`, mean over branches: `HSIC` with `K_i` replaced by `P_i P_i'`.

    `P_i = [cos(h_i f), sin(h_i f)] / sqrt(M)` for M random frequencies `f ~ N(0, 1 / w^2)`, `frequencies` for each of
    the widths w (Rahimi and Recht 2007). Each dimension has its own, which makes `HSIC` the expectation over them;
    with the same for all it would be biased. Drawn at every call from the global generator: one draw for all branches
    and processes.

    The off-diagonal blocks of a covariance of all `2 M D` features; where N is less, by way of the N x N Gram matrix.
    """

    def __init__(self, frequencies: int = 8, widths: Sequence[float] = WIDTHS, epsilon: float = 1e-5) -> None:
        super().__init__()
        if frequencies < 1:
            raise ValueError(f"RandomFeatureHSIC needs at least 1 frequency for each width, got {frequencies}")
        self.frequencies, self.widths, self.epsilon = frequencies, _checked(self, widths), epsilon

    def forward(self, *codes: Tensor) -> Tensor:
        """Codes `(batch, D)` of each branch to a scalar. Raises ValueError on a batch of one."""
        views = branches(self, codes)
        drawn = self._drawn(views[0], max(h.shape[1] for h in views))
        return torch.stack([self._dependence(h, drawn[: h.shape[1]]) for h in views]).mean()

    def _drawn(self, codes: Tensor, dimensions: int) -> Tensor:
        """Frequencies `(dimensions, M)`."""
        # Drawn in single precision whatever the codes are in, so that a seed stands for the same frequencies.
        drawn = torch.randn(dimensions, len(self.widths), self.frequencies, device=codes.device)
        widths = torch.tensor(self.widths, dtype=codes.dtype, device=codes.device)
        return (agreed(drawn).to(codes.dtype) / widths[:, None]).flatten(1)

    def _dependence(self, codes: Tensor, frequencies: Tensor) -> Tensor:
        n, features = len(codes), 2 * frequencies.shape[1]
        dimensions = standardised(codes, self.epsilon).T
        if len(dimensions) * features <= n:
            total, squares = _by_covariance(dimensions, frequencies)
        else:
            total, squares = sum_over_blocks(_by_gram, n * features, dimensions, frequencies)
        return (total.square().sum() - squares).clamp_min(0) / 2 / (n - 1) ** 2  # rounding alone makes it negative


def _by_gram(dimensions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """`sum_i A_i`, which is `(N, N)`, and `sum_i |A_i|^2`, of `A_i = H P_i P_i' H`."""
    features = _features(dimensions, frequencies)
    joined = features.transpose(0, 1).flatten(1).T
    return second_moment(joined, joined), _own_squares(features)


def _by_covariance(dimensions: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """The covariance of all features, which has the same norm as the sum of Gram matrices, and the blocks' own."""
    features = _features(dimensions, frequencies)
    joined = features.transpose(0, 1).flatten(1)
    return second_moment(joined, joined), _own_squares(features)


def _features(dimensions: Tensor, frequencies: Tensor) -> Tensor:
    """`H P_i` of some dimensions, `(d, N), (d, M) -> (d, N, 2M)`."""
    angles = dimensions[:, :, None] * frequencies[:, None, :]
    features = torch.cat([angles.cos(), angles.sin()], -1) / frequencies.shape[1] ** 0.5
    return features - features.mean(1, keepdim=True)


def _own_squares(features: Tensor) -> Tensor:
    """`sum_i |P_i' P_i|_F^2`, by the smaller of `P_i' P_i` and `P_i P_i'`."""
    tall = features if features.shape[1] >= features.shape[2] else features.transpose(1, 2)
    with torch.autocast(features.device.type, enabled=False):
        return (tall.transpose(1, 2) @ tall).square().sum()


def _checked(regularizer: nn.Module, widths: Sequence[float]) -> tuple[float, ...]:
    if not widths or min(widths) <= 0:
        raise ValueError(f"{type(regularizer).__name__} needs kernels of positive width, got widths={list(widths)}")
    return tuple(widths)
