"""Distributions whose coordinates depend on each other by an amount that is known, in nats.

All are centred with unit variance in each coordinate, and all but `CorrelatedNormal` uncorrelated. The constants that
make them so are those of the population: a sample that is standardised by its own moments is no longer drawn
independently, and what a test finds in it is off by that.

`draw(count, generator)` gives float64 points `(count, features)` and labels; `information` is the mutual information of
two coordinates, the total correlation of more: `sum_i h(x_i) - h(x)`, 0 where they are independent.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from typing import final

import numpy as np
from scipy.special import entr

from ebm.data.drawn import Array, Drawn


@dataclass(frozen=True)
class Dependent(Drawn, ABC):
    """A distribution with a known dependence between its coordinates."""

    @property
    @abstractmethod
    def information(self) -> float:
        """Mutual information, or total correlation, of the coordinates in nats."""


@dataclass(frozen=True)
class _Curve(Dependent, ABC):
    """A curve in the plane with round normal noise, whitened; `labels` say which quarter of the curve a point is from.

    `information` is by quadrature: along the curve (Gauss-Legendre), which makes the density a mixture of normals of
    the noise's width `s`, then on a grid of spacing `s / 2` for the entropies of that density and its marginals. The
    joint one is taken before whitening, where the noise is round. It grows without bound as the noise goes to 0.
    """

    noise: float = 0.02

    def __post_init__(self) -> None:
        if not self.noise > 0:
            raise ValueError(f"noise is {self.noise}: give one above 0, a line without width has infinite information")

    @abstractmethod
    def trace(self, place: Array) -> Array:
        """The points `(n, 2)` of the curve at places `(n,)` between 0 and 1, which are equally likely."""

    @property
    @abstractmethod
    def length(self) -> float:
        """An upper bound of how far the curve goes per unit of `place`."""

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        place = generator.uniform(size=count)
        points = self.trace(place) + self.noise * generator.normal(size=(count, 2))
        mean, whitening = self._whitening
        return (points - mean) @ whitening, (4 * place).astype(np.int64)

    @cached_property
    def information(self) -> float:
        single = []
        for axis in np.eye(2):
            centres, weights, width = self.along(axis)
            single.append(_entropy(centres[:, None], weights, width))
        return sum(single) - self._entropy

    @cached_property
    def negentropy(self) -> float:
        """Nats between the density and the normal one of the same moments: `log(2 pi e) - h(x)`."""
        return math.log(2 * math.pi * math.e) - self._entropy

    def along(self, direction: Array) -> tuple[Array, Array, float]:
        """The density of `x . direction`: centres and weights of a mixture of normals, and the deviation of each."""
        points, weights = self._nodes
        mean, whitening = self._whitening
        towards = whitening @ direction
        return (points - mean) @ towards, weights, self.noise * float(np.linalg.norm(towards))

    @cached_property
    def _entropy(self) -> float:
        points, weights = self._nodes
        return _entropy(points, weights, self.noise) + math.log(np.linalg.det(self._whitening[1]))

    @cached_property
    def _nodes(self) -> tuple[Array, Array]:
        """Places for quadrature along the curve, less than the noise apart, and their weights."""
        places, weights = _gauss_legendre(32 + math.ceil(2 * self.length / self.noise))
        return self.trace((places + 1) / 2), weights / 2

    @cached_property
    def _whitening(self) -> tuple[Array, Array]:
        """Mean, and the symmetric square root of the inverse covariance, of the population."""
        points, weights = self._nodes
        mean = weights @ points
        centred = points - mean
        variances, axes = np.linalg.eigh(centred.T @ (weights[:, None] * centred) + self.noise**2 * np.eye(2))
        return mean, axes @ np.diag(variances**-0.5) @ axes.T


@final
@dataclass(frozen=True)
class Spiral(_Curve):
    """`sqrt(v) (cos, sin)(2 pi turns sqrt(v))`, v uniform from 0.02 to 1: even along its length, but for the middle.

    1.5375 nats as it stands, .7943 with a noise of 0.05.
    """

    turns: float = 2.0

    def trace(self, place: Array) -> Array:
        radii = np.sqrt(0.02 + 0.98 * place)
        return radii[:, None] * _around(2 * np.pi * self.turns * radii)

    @property
    def length(self) -> float:
        return math.pi * self.turns + 0.5 / math.sqrt(0.02)


@final
@dataclass(frozen=True)
class Circle(_Curve):
    """A circle: no correlation by symmetry, and each coordinate leaves the other two values: 1.1583 nats."""

    noise: float = 0.05

    def trace(self, place: Array) -> Array:
        return _around(2 * np.pi * place)

    @property
    def length(self) -> float:
        return 2 * math.pi


@final
@dataclass(frozen=True)
class MirroredCheckerboard(Dependent):
    """Half of 4 x 4 squares, the columns 0 1 1 0 of even and odd rows, so that nothing is correlated: `log 2` nats.

    The coordinates are uniform: each halves what the other can be. `labels` are the columns.
    """

    @property
    def information(self) -> float:
        return math.log(2)

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        column, upper = generator.integers(4, size=count), generator.integers(2, size=count)
        row = 2 * upper + (column % 3 != 0)
        squares = np.stack([column, row], 1) + generator.uniform(size=(count, 2))
        return (squares - 2) * (math.sqrt(12) / 4), column


@final
@dataclass(frozen=True)
class SignFlip(Dependent):
    """`x` normal, `y = s c x + sqrt(1 - c^2) n` with a fair sign `s`: a cross of normals, each N(0, 1), uncorrelated.

    Information: `-log(1 - c^2) / 2`, that of x and y when s is known, less what y tells of s when x is known, which is
    `E_m[log 2 - E_n log(1 + exp(-2 m (m + n)))]` with `m = c x / sqrt(1 - c^2)`, by quadrature: .6634 as it stands.
    `labels` are 1 where s is positive.
    """

    coefficient: float = 0.95

    def __post_init__(self) -> None:
        _check_coefficient("coefficient", self.coefficient)

    @cached_property
    def information(self) -> float:
        width = math.sqrt(1 - self.coefficient**2)
        x = np.linspace(-9, 9, 1801)  # the trapezoid rule on smooth functions that vanish at both ends
        likely = np.exp(-(x**2) / 2) / np.exp(-(x**2) / 2).sum()
        m = self.coefficient / width * x[:, None]
        known = math.log(2) - np.logaddexp(0, -2 * m * (m + x)) @ likely
        return float(-math.log(width) - likely @ known)

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        labels, (x, rest) = generator.integers(2, size=count), generator.normal(size=(2, count))
        y = self.coefficient * (2 * labels - 1) * x + math.sqrt(1 - self.coefficient**2) * rest
        return np.stack([x, y], 1), labels


@final
@dataclass(frozen=True)
class CorrelatedNormal(Dependent):
    """Two normals of correlation `rho`: `-log(1 - rho^2) / 2` nats. One label, 0."""

    rho: float = 0.5

    def __post_init__(self) -> None:
        _check_coefficient("rho", self.rho)

    @property
    def information(self) -> float:
        return -math.log1p(-(self.rho**2)) / 2

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        x, rest = generator.normal(size=(2, count))
        return _unlabelled(np.stack([x, self.rho * x + math.sqrt(1 - self.rho**2) * rest], 1))


@final
@dataclass(frozen=True)
class IndependentNormal(Dependent):
    """N(0, I). One label, 0."""

    dimensions: int = 2

    @property
    def information(self) -> float:
        return 0.0

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        return _unlabelled(generator.normal(size=(count, self.dimensions)))


@final
@dataclass(frozen=True)
class IndependentUniform(Dependent):
    """Uniform on a cube: independent, and not normal. One label, 0."""

    dimensions: int = 2

    @property
    def information(self) -> float:
        return 0.0

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        return _unlabelled(math.sqrt(3) * generator.uniform(-1, 1, (count, self.dimensions)))


@final
@dataclass(frozen=True)
class Parity(Dependent):
    """Three coordinates N(0, 1) of which any two are independent and two give the sign of the third: `log 2` nats.

    No statistic of pairs of coordinates can see it. `labels` are 1 where the third is positive.
    """

    @property
    def information(self) -> float:
        return math.log(2)

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        points = generator.normal(size=(count, 3))
        points[:, 2] = np.copysign(points[:, 2], points[:, 0] * points[:, 1])
        return points, (points[:, 2] > 0).astype(np.int64)


def _entropy(points: Array, weights: Array, width: float) -> float:
    """Of a mixture, in the plane or on the line, of round normals around `points` `(n, 1 or 2)`, on a grid."""
    factors = []
    for centres in points.T:
        grid = np.arange(centres.min() - 9 * width, centres.max() + 9 * width, width / 2)
        factors.append(np.exp(-(((grid[:, None] - centres) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi)))
    density = factors[0] * weights @ (factors[1].T if len(factors) == 2 else np.ones(len(weights)))
    return float(entr(density).sum()) * (width / 2) ** len(factors)


@cache
def _gauss_legendre(count: int) -> tuple[Array, Array]:
    return np.polynomial.legendre.leggauss(count)


def _around(angles: Array) -> Array:
    return np.stack([np.cos(angles), np.sin(angles)], -1)


def _unlabelled(points: Array) -> tuple[Array, Array]:
    return points, np.zeros(len(points), dtype=np.int64)


def _check_coefficient(name: str, value: float) -> None:
    if not -1 < value < 1:
        raise ValueError(f"{name} is {value}: give one between -1 and 1, at which the information is infinite")
