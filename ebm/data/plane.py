"""Distributions in the plane that densities are tried on, of a few units across and centred.

Rows are drawn independently of each other, which an unbiased estimate of a distance from them needs: scikit-learn's
`make_moons` and `make_blobs`, of the same shapes, space angles evenly and take equally many of each part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from ebm.data.drawn import Array, Drawn


@final
@dataclass(frozen=True)
class TwoMoons(Drawn):
    """Two half circles of radius 1 that reach into each other, with normal noise."""

    noise: float = 0.1

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        labels, angles = generator.integers(2, size=count), generator.uniform(0, np.pi, count)
        lower = labels == 1
        arcs = _around(angles) * np.where(lower, -1, 1)[:, None] + lower[:, None] * np.array([1.0, 0.5])
        return arcs - np.array([0.5, 0.25]) + self.noise * generator.normal(size=(count, 2)), labels


@final
@dataclass(frozen=True)
class EightGaussians(Drawn):
    """Eight round normal distributions on a circle."""

    radius: float = 2.0
    deviation: float = 0.15

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        labels = generator.integers(8, size=count)
        return self.radius * _around(labels * np.pi / 4) + self.deviation * generator.normal(size=(count, 2)), labels


@final
@dataclass(frozen=True)
class Checkerboard(Drawn):
    """Every other one of the 4 x 4 unit squares between -2 and 2: sharp edges, and uniform within."""

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        labels = generator.integers(8, size=count)
        column, pair = np.divmod(labels, 2)
        corners = np.stack([column, 2 * pair + column % 2], 1) - 2.0
        return corners + generator.uniform(size=(count, 2)), labels


@final
@dataclass(frozen=True)
class Rings(Drawn):
    """Three circles around one centre, equally likely, of which the inner ones are thus denser; normal noise across."""

    noise: float = 0.05

    def draw(self, count: int, generator: np.random.Generator) -> tuple[Array, Array]:
        labels, angles = generator.integers(3, size=count), generator.uniform(0, 2 * np.pi, count)
        radii = 0.7 * (labels + 1) + self.noise * generator.normal(size=count)
        return radii[:, None] * _around(angles), labels


def _around(angles: Array) -> Array:
    return np.stack([np.cos(angles), np.sin(angles)], -1)
