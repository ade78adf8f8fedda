"""Costs of a latent that have a kink, or a closed form: taken by proximal steps, not by their gradient."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class Penalty(ABC):
    """A convex cost that is added to an energy. Acts on the last axis, any leading axes: `z` is `(*batch, D)`.

    `prox` is all that a first-order solver needs (Parikh and Boyd 2014). `subgradient` tells when it has arrived;
    `free` and `curvature` tell second-order solvers and derivatives of the minimum that it solves
    `(Q H Q + K) dz = -Q d(dE/dz)`, with `H` the Hessian of `E`, `Q` from `free` and `K` from `curvature`.

    A `gradient` is always that of the energy without the penalty. A NaN in `z` stays one in its cost and its prox.
    """

    @abstractmethod
    def __call__(self, z: Tensor) -> Tensor:
        """The cost `(*batch,)`."""

    @abstractmethod
    def prox(self, z: Tensor, step: Tensor | float) -> Tensor:
        """`argmin_u penalty(u) + |u - z|^2 / (2 step)`, with `step` a number, or broadcast against `(*batch, 1)`."""

    @abstractmethod
    def subgradient(self, z: Tensor, gradient: Tensor) -> Tensor:
        """The shortest element of `gradient + d penalty(z)`: zero at a minimum of energy plus penalty, nowhere else
        if the energy is convex.
        """

    @abstractmethod
    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        """`Q v`: of `v`, what keeps to the kinks that `z` lies on; `Q` is a symmetric, idempotent, linear map."""

    @abstractmethod
    def curvature(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        """`K v`, with `K = Q K Q` the Hessian of the penalty along what is free."""

    def project(self, z: Tensor) -> Tensor:
        """The nearest point at which the penalty is finite."""
        return z

    def stopped(self, z: Tensor, to: Tensor) -> Tensor:
        """`to`, or the kink in its stead where that is passed on the way there from `z`."""
        return self.project(to)

    def check(self, z: Tensor) -> None:
        """Raise ValueError where the penalty does not fit `z`."""
        return


@final
@dataclass(frozen=True)
class L1(Penalty):
    """`strength |z|_1`: makes a code sparse (Tibshirani 1996); its prox is the soft threshold."""

    strength: float

    def __post_init__(self) -> None:
        _check_strength(self)

    def __call__(self, z: Tensor) -> Tensor:
        return self.strength * z.abs().sum(-1)

    def prox(self, z: Tensor, step: Tensor | float) -> Tensor:
        return _soft(z, step * self.strength)

    def subgradient(self, z: Tensor, gradient: Tensor) -> Tensor:
        # The soft threshold where z is zero; elsewhere what is clamped is beyond the bound on the side of -z. Quicker
        # than to take one or the other, four times over.
        beyond = torch.sub(gradient, z.sign(), alpha=torch.finfo(z.dtype).max)
        return gradient - beyond.clamp(-self.strength, self.strength)

    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        return v * z.sign().abs()

    def curvature(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        return torch.zeros_like(v)

    def stopped(self, z: Tensor, to: Tensor) -> Tensor:
        return torch.where(z * to < 0, 0, to)  # the orthant of z (Andrew and Gao 2007)


@final
@dataclass(frozen=True)
class NonNegativeL1(Penalty):
    """`strength sum(z)` where `z >= 0`, infinite elsewhere: sparse codes of parts that only add up (Hoyer 2002).

    Its prox is `relu(z - step strength)`, so an iterate is never negative.
    """

    strength: float

    def __post_init__(self) -> None:
        _check_strength(self)

    def __call__(self, z: Tensor) -> Tensor:
        cost = self.strength * z.sum(-1)
        return torch.where((z < 0).any(-1) & ~cost.isnan(), math.inf, cost)

    def prox(self, z: Tensor, step: Tensor | float) -> Tensor:
        return (z - step * self.strength).relu()

    def project(self, z: Tensor) -> Tensor:
        return z.relu()

    def subgradient(self, z: Tensor, gradient: Tensor) -> Tensor:
        slope = gradient + self.strength
        return torch.where(z <= 0, slope.clamp_max(0), slope)

    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        return torch.where(z <= 0, 0, v)

    def curvature(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        return torch.zeros_like(v)


@final
@dataclass(frozen=True)
class GroupL1(Penalty):
    """`strength sum_g |z_g|` over groups of `size` coordinates in a row: a group is zero as a whole, or not at all.

    The group lasso (Yuan and Lin 2006, without its weights, which are alike for groups of one size).
    Its curvature on a group that is not zero is `strength / |z_g| (I - z_g z_g' / |z_g|^2)`.
    """

    strength: float
    size: int

    def __post_init__(self) -> None:
        _check_strength(self)
        if self.size < 1:
            raise ValueError(f"the `size` of a group is at least 1, not {self.size}")

    def __call__(self, z: Tensor) -> Tensor:
        return self.strength * _norm(self._groups(z)).sum((-2, -1))

    def prox(self, z: Tensor, step: Tensor | float) -> Tensor:
        amount = step * self.strength
        return _shrink(self._groups(z), amount[..., None] if isinstance(amount, Tensor) else amount).flatten(-2)

    def subgradient(self, z: Tensor, gradient: Tensor) -> Tensor:
        groups, slopes = self._groups(z), self._groups(gradient)
        norm, unit = _polar(groups)
        return torch.where(norm == 0, _shrink(slopes, self.strength), slopes + self.strength * unit).flatten(-2)

    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        return torch.where(_norm(self._groups(z)) == 0, 0, self._groups(v)).flatten(-2)

    def curvature(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        norm, unit = _polar(self._groups(z))
        moves = self._groups(v)
        turning = moves - (moves * unit).sum(-1, keepdim=True) * unit
        return torch.where(norm == 0, 0, self.strength / _nonzero(norm) * turning).flatten(-2)

    def stopped(self, z: Tensor, to: Tensor) -> Tensor:
        groups, goals = self._groups(z), self._groups(to)  # the half-space of each group (Chen et al. 2020)
        return torch.where((groups * goals).sum(-1, keepdim=True) < 0, 0, goals).flatten(-2)

    def check(self, z: Tensor) -> None:
        self._groups(z)

    def _groups(self, z: Tensor) -> Tensor:
        """`(*batch, D) -> (*batch, D / size, size)`."""
        if z.ndim == 0 or z.shape[-1] % self.size:
            raise ValueError(
                f"the last axis of z does not split into groups of {self.size}: its shape is {tuple(z.shape)}; take a"
                " `size` that divides it"
            )
        return z.reshape(*z.shape[:-1], z.shape[-1] // self.size, self.size)


@final
@dataclass(frozen=True)
class L2(Penalty):
    """`strength / 2 |z|^2`: the prior of a Gaussian latent. It has no kink, so everything is free."""

    strength: float

    def __post_init__(self) -> None:
        _check_strength(self)

    def __call__(self, z: Tensor) -> Tensor:
        return self.strength / 2 * z.square().sum(-1)

    def prox(self, z: Tensor, step: Tensor | float) -> Tensor:
        return z / (1 + step * self.strength)

    def subgradient(self, z: Tensor, gradient: Tensor) -> Tensor:
        return gradient + self.strength * z

    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        return v

    def curvature(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        return self.strength * v


def _soft(z: Tensor, amount: Tensor | float) -> Tensor:
    if isinstance(amount, Tensor):  # a clamp by tensors takes twice as long
        return z - torch.maximum(torch.minimum(z, amount), -amount)
    return z - z.clamp(-amount, amount)  # exactly zero where it is within


def _shrink(groups: Tensor, amount: Tensor | float) -> Tensor:
    """Each group, shorter by `amount`; zero if it is not that long."""
    norm, _ = _polar(groups)
    return (norm - amount).relu() / _nonzero(norm) * groups


def _polar(groups: Tensor) -> tuple[Tensor, Tensor]:
    norm = _norm(groups)
    return norm, groups / _nonzero(norm)


def _norm(groups: Tensor) -> Tensor:
    return torch.linalg.vector_norm(groups, dim=-1, keepdim=True)


def _nonzero(norm: Tensor) -> Tensor:
    return torch.where(norm == 0, 1, norm)


def _check_strength(penalty: L1 | NonNegativeL1 | GroupL1 | L2) -> None:
    if not 0 <= penalty.strength < math.inf:
        raise ValueError(
            f"the `strength` of {type(penalty).__name__} is a number that is not negative, not {penalty.strength}"
        )
