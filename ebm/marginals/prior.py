"""Over which measure a latent is averaged out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, final

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ebm.constraints import Box
from ebm.domain import Domain
from ebm.layout import Tree
from ebm.problem import Problem, SumOfSquares

Scalars = float | tuple[float, ...]
"""One number for all features of z, or one for each."""


class Prior(ABC):
    """The density `p(z)` of the measure in `F_beta = -1/beta log E_p exp(-beta E)`, each feature by itself."""

    proper: ClassVar[bool] = True
    """Whether it has a finite mass, so that it can be sampled from."""

    @abstractmethod
    def log_density(self, z: Tensor) -> Tensor:
        """`log p(z)`, `(...)` for z `(..., D)`; minus infinity outside of its support."""

    @abstractmethod
    def score(self, z: Tensor) -> Tensor:
        """`d log p / dz`, `(..., D)`, inside of its support."""

    @abstractmethod
    def quantile(self, uniform: Tensor) -> Tensor:
        """Samples by the inverse of the distribution function, from numbers `(..., D)` uniform between 0 and 1."""

    @abstractmethod
    def cross_entropy(self, mean: Tensor, deviation: Tensor) -> Tensor:
        """`-E_q log p`, `(...)`, for normal q of means and deviations `(..., D)`."""

    @abstractmethod
    def posed(self, problem: Problem, beta: float) -> Problem:
        """The problem whose minima are the modes of `p exp(-beta E)`: of `E - log p / beta`, up to a constant."""

    def project(self, z: Tensor) -> Tensor:
        """The nearest point of the support."""
        return z


@dataclass(frozen=True)  # not final: jsonargparse would take it, being a default, for the only prior there is
class Normal(Prior):
    """Normal with mean zero and deviation `scale`."""

    scale: Scalars = 1.0

    def __post_init__(self) -> None:
        if not all(0 < scale < math.inf for scale in _tuple(self.scale)):
            raise ValueError(f"the scale of a normal prior is positive and finite, not {self.scale}")

    def log_density(self, z: Tensor) -> Tensor:
        scale = _columns(self.scale, z)
        return -((z / scale).square() / 2 + scale.log()).sum(-1) - z.shape[-1] / 2 * math.log(2 * math.pi)

    def score(self, z: Tensor) -> Tensor:
        return -z / _columns(self.scale, z).square()

    def quantile(self, uniform: Tensor) -> Tensor:
        return _columns(self.scale, uniform) * torch.special.ndtri(uniform)

    def cross_entropy(self, mean: Tensor, deviation: Tensor) -> Tensor:
        spread = (deviation / _columns(self.scale, mean)).square().sum(-1) / 2
        return spread - self.log_density(mean)

    def posed(self, problem: Problem, beta: float) -> Problem:
        if math.isinf(beta):
            return problem
        return replace(problem, fn=_with_normal(problem.fn, self.scale, beta))


@final
@dataclass(frozen=True)
class Uniform(Prior):
    """Uniform between two bounds: such as an angle, over a whole turn."""

    lower: Scalars = 0.0
    upper: Scalars = 1.0

    def __post_init__(self) -> None:
        lower, upper = _tuple(self.lower), _tuple(self.upper)
        if len({len(lower), len(upper)} - {1}) > 1:
            raise ValueError(f"there are {len(lower)} lower and {len(upper)} upper bounds: give one, or one a feature")
        spans = [high - low for low, high in zip(_spread(lower, upper), _spread(upper, lower), strict=True)]
        if not all(0 < span < math.inf for span in spans):
            raise ValueError(
                f"a uniform prior has finite bounds, `lower` below `upper`, not {self.lower} and {self.upper}; use"
                " Lebesgue() for the whole space"
            )

    def log_density(self, z: Tensor) -> Tensor:
        lower, upper = self._bounds(z)
        inside = ((z >= lower) & (z <= upper)).all(-1)
        height = -(upper - lower).log().expand_as(z).sum(-1)
        return torch.where(inside, height, -torch.inf)

    def score(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z)

    def quantile(self, uniform: Tensor) -> Tensor:
        lower, upper = self._bounds(uniform)
        return lower + (upper - lower) * uniform

    def cross_entropy(self, mean: Tensor, deviation: Tensor) -> Tensor:
        raise ValueError(
            "a normal distribution reaches beyond any bounds, so that its divergence from a uniform prior is infinite:"
            " use Variational with Normal() or Lebesgue(), or ImportanceSampling"
        )

    def posed(self, problem: Problem, beta: float) -> Problem:
        if problem.domain is not None:
            raise ValueError(
                "a uniform prior keeps z in a box of its own, beside which there can be no penalty or constraint: write"
                " the penalty into the energy"
            )
        layout = problem.layout
        like = torch.zeros(sum(layout.sizes), dtype=torch.float64)
        bounds = [bound.expand_as(like).split(layout.sizes) for bound in self._bounds(like)]
        boxes = tuple(
            Box(lower.reshape(event or (1,)), upper.reshape(event or (1,)))
            for lower, upper, event in zip(*bounds, layout.events, strict=True)
        )
        return replace(problem, domain=Domain(layout, boxes))

    def project(self, z: Tensor) -> Tensor:
        return torch.clamp(z, *self._bounds(z))

    def _bounds(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return _columns(self.lower, z), _columns(self.upper, z)


@final
@dataclass(frozen=True)
class Lebesgue(Prior):
    """The flat measure `dz` over the whole space: `F_beta = -1/beta log integral exp(-beta E) dz`.

    It has no mass of one, so that F depends on the units of z: rescaling z by c adds `-D/beta log c`. F is not
    bounded by the minimum, and not comparable between latents of different sizes.
    """

    proper: ClassVar[bool] = False

    def log_density(self, z: Tensor) -> Tensor:
        return z.new_zeros(z.shape[:-1])

    def score(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z)

    def quantile(self, uniform: Tensor) -> Tensor:
        raise ValueError(
            "a flat measure over the whole space cannot be sampled from: give a proper prior, such as Normal(scale)"
            " or Uniform(lower, upper)"
        )

    def cross_entropy(self, mean: Tensor, deviation: Tensor) -> Tensor:
        return mean.new_zeros(mean.shape[:-1])

    def posed(self, problem: Problem, beta: float) -> Problem:
        return problem


def _with_normal(fn: Callable[..., Tensor], scale: Scalars, beta: float) -> Callable[..., Tensor]:
    """`fn + |z / scale|^2 / (2 beta)`, a sum of squares still where it is one."""
    if isinstance(fn, SumOfSquares):

        def residuals(z: Tree, *given: Any) -> Tensor:
            own = fn.residuals(z, *given)
            flat = _rows(z, own.shape[:-1])
            return torch.cat([own, flat / (_columns(scale, flat) * math.sqrt(2 * beta))], -1)

        return SumOfSquares(residuals)

    def energy(z: Tree, *given: Any) -> Tensor:
        own = fn(z, *given)
        flat = _rows(z, own.shape)
        return own + (flat / _columns(scale, flat)).square().sum(-1) / (2 * beta)

    return energy


def _rows(z: Tree, batch: torch.Size) -> Tensor:
    """All features of a tree, `(*batch, D)`."""
    return torch.cat([leaf.reshape(*batch, -1) for leaf in tree_leaves(z)], -1)


def _tuple(values: Scalars) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,)


def _spread(values: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    return values * len(other) if len(values) == 1 else values


def _columns(values: Scalars, z: Tensor) -> Tensor:
    """Numbers that broadcast to the last axis of z."""
    columns = torch.as_tensor(values, dtype=z.dtype, device=z.device)
    if columns.ndim and len(columns) != z.shape[-1]:
        raise ValueError(f"the prior has numbers for {len(columns)} features, but z has {z.shape[-1]}")
    return columns
