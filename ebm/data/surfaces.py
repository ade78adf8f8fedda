"""Codes of many dimensions that fool what looks at two moments: thin surfaces, and spirals between pairs of dimensions.

Centred, with the identity as covariance, in the population: every spectrum is flat, every rank is full.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from scipy.special import entr

from ebm.data.dependence import Dependent, Spiral
from ebm.data.drawn import Array


@final
@dataclass(frozen=True)
class ThinSurface(Dependent):
    """A surface of `latents` dimensions in a space of `dimensions`, bent until its covariance is the identity.

    `x = (cos(u W + b) - mean) C^{-1/2}`, `u` uniform on `[-1, 1]^latents`, frequencies `W` normal of deviation
    `bandwidth`, phases `b` uniform; `surface` chooses them. Mean and covariance C are exact: `E cos(w u + b)` is
    `cos b prod_i sin(w_i) / w_i`, and a product of cosines is half a sum of two. The intrinsic dimension is `latents`,
    the total correlation infinite. `labels` are orthants of the latents. The bandwidth must fold the latents into
    `dimensions` features that are independent: 150, 8 and 3 do for 1, 2 and 4 latents in 64, and are chosen by default.
    """

    latents: int = 2
    dimensions: int = 64
    bandwidth: float | None = None
    surface: int = 0

    def __post_init__(self) -> None:
        least = self._spectrum[0][0]
        if not least > 1e-8:
            raise ValueError(
                f"{self.dimensions} features of {self.latents} latents at bandwidth {self._deviation:g} are dependent"
                f" (least variance {least:.1e}): raise `bandwidth`, or lower `dimensions`"
            )

    @property
    def information(self) -> float:
        return math.inf

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        latents = generator.uniform(-1, 1, (count, self.latents))
        return self.place(latents), (latents > 0) @ 2 ** np.arange(self.latents)

    def place(self, latents: Array) -> Array:
        """The points `(n, dimensions)` of the surface at latents `(n, latents)`."""
        frequencies, phases = self._features
        variances, axes = self._spectrum
        features = np.cos(latents @ frequencies + phases) - _mean_cosine(frequencies, phases)
        points: Array = features @ (axes * variances**-0.5) @ axes.T
        return points

    @property
    def _deviation(self) -> float:
        chosen = {1: 150.0, 2: 8.0}.get(self.latents, 3.0)
        return chosen if self.bandwidth is None else self.bandwidth

    @property
    def _features(self) -> tuple[Array, Array]:
        """Frequencies `(latents, dimensions)` and phases `(dimensions,)`."""
        generator = np.random.default_rng(self.surface)
        frequencies = self._deviation * generator.normal(size=(self.latents, self.dimensions))
        return frequencies, generator.uniform(0, 2 * np.pi, self.dimensions)

    @cached_property
    def _spectrum(self) -> tuple[Array, Array]:
        """Variances, least first, and axes of the features."""
        w, b = self._features
        mean = _mean_cosine(w, b)
        differences = _mean_cosine(w[:, :, None] - w[:, None], b[:, None] - b)
        sums = _mean_cosine(w[:, :, None] + w[:, None], b[:, None] + b)
        found: tuple[Array, Array] = np.linalg.eigh((differences + sums) / 2 - np.outer(mean, mean))
        return found


@final
@dataclass(frozen=True)
class Spirals(Dependent):
    """Independent spirals (`Spiral`) in dimensions 0 and 1, 2 and 3, ...; `rotated`, each dimension has some of all.

    The rotation is one drawn uniformly from all (the same for all data), and hides from statistics of pairs of
    dimensions what those of the whole code can still see. One label, 0.
    """

    dimensions: int = 8
    rotated: bool = False
    noise: float = 0.02
    turns: float = 2.0

    def __post_init__(self) -> None:
        if self.dimensions < 2 or self.dimensions % 2:
            raise ValueError(f"{self.dimensions} dimensions cannot be paired: give an even number of at least 2")

    @property
    def information(self) -> float:
        """That of one spiral for each pair. Rotated: more, as the single dimensions near the normal distribution.

        It is the sum of the negentropies of the spirals less those of the single dimensions, whose densities are
        convolutions of those of the spirals along a direction.
        """
        pairs = self.dimensions // 2
        if not self.rotated:
            return pairs * self._spiral.information
        single = sum(_negentropy(self._spiral, column.reshape(pairs, 2)) for column in self._rotation.T)
        return pairs * self._spiral.negentropy - single

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        parts = [self._spiral.draw(count, generator)[0] for _ in range(self.dimensions // 2)]
        points = np.concatenate(parts, 1)
        return points @ self._rotation if self.rotated else points, np.zeros(count, dtype=np.int64)

    @cached_property
    def _spiral(self) -> Spiral:
        return Spiral(noise=self.noise, turns=self.turns)

    @cached_property
    def _rotation(self) -> Array:
        """Uniform among all: the signs make the decomposition unique."""
        normal = np.random.default_rng(0).normal(size=(self.dimensions, self.dimensions))
        axes, triangle = np.linalg.qr(normal)
        rotation: Array = axes * np.sign(np.diag(triangle))
        return rotation


def _mean_cosine(frequencies: Array, phases: Array) -> Array:
    """`E cos(u . w + b)` for u uniform on `[-1, 1]^d` and frequencies `(d, ...)`."""
    mean: Array = np.cos(phases) * np.sinc(frequencies / np.pi).prod(0)
    return mean


def _negentropy(spiral: Spiral, directions: Array, bins: int = 2**14, span: float = 32.0) -> float:
    """Of the sum of one spiral each along `directions` `(spirals, 2)`, unit variance in all, in nats.

    The mixtures are laid on a grid, each centre shared by the two bins beside it, and convolved by Fourier transform.
    """
    step = span / bins
    product = np.ones(bins // 2 + 1, dtype=np.complex128)
    for direction in directions:
        centres, weights, width = spiral.along(direction)
        below, share = np.divmod(centres / step, 1)
        places = below.astype(np.int64) % bins
        comb = np.bincount(places, weights * (1 - share), bins) + np.roll(np.bincount(places, weights * share, bins), 1)
        product *= np.fft.rfft(comb) * np.exp(-((2 * np.pi * width * np.fft.rfftfreq(bins, step)) ** 2) / 2)
    density = np.fft.irfft(product, bins).clip(0) / step
    return math.log(2 * math.pi * math.e) / 2 - float(entr(density).sum()) * step
