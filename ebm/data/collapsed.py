"""Codes of pairs, collapsed in each way that a verdict tells apart, and codes that are not.

Each is drawn as `(hx, hy)`, two views `(count, features)`, float32, of the same things: what is random of a thing is
drawn once, what is random of a view, a share `jitter` of it, twice. All depend on the generator alone.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ebm.energy import Energy

Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Codes(ABC):
    """A distribution of codes of matching pairs, and the kind of collapse that it is."""

    jitter: float = 0.2
    """The standard deviation of what differs between views, over that of what they share."""

    kind: ClassVar[str] = "none"

    @abstractmethod
    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        """Codes `(count, features)` of x and of y."""

    def views(self, count: int, features: int, generator: torch.Generator) -> Pair:
        """Standard normal features that the views nearly share."""
        shared, *own = (torch.randn(count, features, generator=generator) for _ in range(3))
        x, y = ((shared + self.jitter * one) / math.hypot(1, self.jitter) for one in own)
        return x, y


@final
@dataclass(frozen=True)
class Gaussian(Codes):
    """`N(mean 1, deviation^2 I)`."""

    deviation: float = 1.0
    mean: float = 0.0

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        x, y = self.views(count, features, generator)
        return self.mean + self.deviation * x, self.mean + self.deviation * y


@final
@dataclass(frozen=True)
class Sphere(Codes):
    """Uniform on the unit sphere."""

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        x, y = self.views(count, features, generator)
        return normalize(x, dim=-1), normalize(y, dim=-1)


@final
@dataclass(frozen=True)
class HeavyTails(Codes):
    """Student's multivariate distribution: a normal code over the root of a chi-squared number, over its `freedom`."""

    freedom: int = 3

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        x, y = self.views(count, features, generator)
        squares = torch.randn(count, self.freedom, generator=generator).square().mean(1, keepdim=True)
        return x / squares.sqrt(), y / squares.sqrt()


@final
@dataclass(frozen=True)
class Decaying(Codes):
    """Normal with variances `k^-exponent` along directions at random, as real networks have: Agrawal et al. 2022."""

    exponent: float = 1.0

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        x, y = self.views(count, features, generator)
        spectrum = torch.arange(1, features + 1) ** (-self.exponent / 2)
        turn = rotation(features, generator)
        return (x * spectrum) @ turn, (y * spectrum) @ turn


@final
@dataclass(frozen=True)
class Classes(Codes):
    """Normal around `number` centres, themselves normal of a deviation of `separation` within a class."""

    number: int = 10
    separation: float = 1.0

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        centres = self.separation * torch.randn(self.number, features, generator=generator)
        own = centres[torch.randint(self.number, (count,), generator=generator)]
        x, y = self.views(count, features, generator)
        return own + x, own + y


@final
@dataclass(frozen=True)
class Point(Codes):
    """One code for all, but for normal noise of a deviation of `spread` around a place of length `sqrt(features)`."""

    spread: float = 0.01

    kind: ClassVar[str] = "complete"

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        x, y = self.views(count, features, generator)
        place = torch.randn(features, generator=generator)
        return place + self.spread * x, place + self.spread * y


@final
@dataclass(frozen=True)
class Shrunk(Codes):
    """Standard normal codes times `scale`, around the origin: the rank is the highest, the spread is not."""

    scale: float = 1e-3

    kind: ClassVar[str] = "complete"

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        x, y = self.views(count, features, generator)
        return self.scale * x, self.scale * y


@final
@dataclass(frozen=True)
class Subspace(Codes):
    """Normal in a subspace at random of a `share` of the dimensions, with `noise` in all."""

    share: float = 0.1
    noise: float = 0.0

    kind: ClassVar[str] = "dimensional"

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        dimensions = max(1, round(self.share * features))
        inside = self.views(count, dimensions, generator)
        basis = rotation(features, generator)[:dimensions]
        x, y = (part @ basis + self.noise * torch.randn(count, features, generator=generator) for part in inside)
        return x, y


@final
@dataclass(frozen=True)
class Surface(Codes):
    """`sqrt(2) sin(2 pi k u + phase)`, u uniform in a cube of few `dimensions`: it fills all directions evenly.

    `k` are the shortest vectors of whole numbers, none the opposite of another, each with two phases a quarter apart:
    the covariance is I, the surface a torus that bends no more than that takes. `jitter` is of the shortest wave,
    `noise` is added in all dimensions.
    """

    dimensions: int = 2
    noise: float = 0.0
    jitter: float = 0.05

    kind: ClassVar[str] = "nonlinear"

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        place = torch.rand(count, self.dimensions, generator=generator)
        waves = _waves(self.dimensions, (features + 1) // 2)
        turn, jitter = rotation(features, generator), self.jitter / waves.square().sum(1).amax().sqrt()

        def one() -> Tensor:
            own = place + jitter * torch.randn(count, self.dimensions, generator=generator)
            angles = 2 * math.pi * own @ waves.T
            codes = math.sqrt(2) * torch.cat([angles.sin(), angles.cos()], 1)[:, :features] @ turn
            return codes + self.noise * torch.randn(count, features, generator=generator)

        return one(), one()


@final
@dataclass(frozen=True)
class Clusters(Codes):
    """One of `number` standard normal codes each, with normal noise of a deviation of `spread`."""

    number: int = 8
    spread: float = 0.05

    kind: ClassVar[str] = "cluster"

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        centres = torch.randn(self.number, features, generator=generator)
        own = centres[torch.randint(self.number, (count,), generator=generator)]
        x, y = self.views(count, features, generator)
        return own + self.spread * x, own + self.spread * y


@final
@dataclass(frozen=True)
class ConstantTarget(Codes):
    """Standard normal predictions of a target that is the same for all, but for noise of a deviation of `spread`."""

    spread: float = 0.0

    kind: ClassVar[str] = "target"

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        x, y = self.views(count, features, generator)
        return x, torch.randn(features, generator=generator) + self.spread * y


@final
@dataclass(frozen=True)
class ConstantPrediction(Codes):
    """Standard normal targets, and a prediction that is the same for all, but for noise of `spread`."""

    spread: float = 0.0

    kind: ClassVar[str] = "target"

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        x, y = self.views(count, features, generator)
        return torch.randn(features, generator=generator) + self.spread * x, y


@final
@dataclass(frozen=True)
class Unrelated(Codes):
    """Standard normal codes, those of x and of y independent of each other: the target says nothing of x."""

    kind: ClassVar[str] = "target"

    def draw(self, count: int, features: int, generator: torch.Generator) -> Pair:
        x, y = (torch.randn(count, features, generator=generator) for _ in range(2))
        return x, y


@final
class Explained(Energy):
    """`|hy - hx - scale z|^2`, z of the first `latents` features and free: where it has all of them, it says all."""

    def __init__(self, latents: int, scale: float = 1.0) -> None:
        super().__init__()
        self.latents, self.scale = latents, scale

    def latent(self, hx: Tensor, hy: Tensor) -> Tensor:
        return torch.zeros_like((hx + hy)[..., : self.latents])

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        rest = hy - hx
        if z is None:
            return rest.square().sum(-1)
        explained, left = rest[..., : self.latents] - self.scale * z, rest[..., self.latents :]
        return explained.square().sum(-1) + left.square().sum(-1)


def rotation(features: int, generator: torch.Generator) -> Tensor:
    """An orthogonal matrix at random."""
    return torch.linalg.qr(torch.randn(features, features, generator=generator)).Q


def _waves(dimensions: int, count: int) -> Tensor:
    """The shortest vectors of whole numbers, without 0 and without opposites, `(count, dimensions)`."""
    reach = 1
    while ((2 * reach + 1) ** dimensions - 1) // 2 < count or _inside(dimensions, reach) < count:
        reach += 1
    axis = torch.arange(-reach, reach + 1)
    vectors = torch.cartesian_prod(*[axis] * dimensions).view(-1, dimensions)
    vectors = vectors[len(vectors) // 2 + 1 :]  # the order is that of a number, so its second half has no opposites
    return vectors[vectors.square().sum(1).argsort(stable=True)][:count].float()


def _inside(dimensions: int, reach: int) -> int:
    """About how many of them lie within a ball: beyond, the cube's corners are longer than what it leaves out."""
    return int(math.pi ** (dimensions / 2) / math.gamma(dimensions / 2 + 1) * reach**dimensions / 2)
