"""Codes whose kind of collapse is known: what `benchmarks/verdicts.py` asks verdicts of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from ebm import FreeEnergy
from ebm.data import collapsed
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding

DISTANCE = FreeEnergy(JointEmbedding(nn.Identity()))
COSINE = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance()))
Cases = dict[str, tuple[str, collapsed.Codes, FreeEnergy]]


@final
@dataclass(frozen=True)
class Mapped(collapsed.Codes):
    """Normal codes after a function."""

    fn: Callable[[Tensor], Tensor] = torch.relu

    def draw(self, count: int, features: int, generator: torch.Generator) -> collapsed.Pair:
        x, y = self.views(count, features, generator)
        return self.fn(x), self.fn(y)


def before(features: int) -> Cases:
    """The kind of collapse, the codes and their energy, by name: what thresholds were chosen by, on other seeds."""
    c = collapsed
    plain: list[tuple[str, c.Codes]] = [
        ("normal", c.Gaussian()),
        ("normal, mean 30", c.Gaussian(mean=30.0)),
        ("normal, deviation .3, mean 1", c.Gaussian(deviation=0.3, mean=1.0)),
        ("sphere", c.Sphere()),
        ("Student, 3 degrees of freedom", c.HeavyTails()),
        ("spectrum 1 / k", c.Decaying(exponent=1.0)),
        ("spectrum 1 / k^2", c.Decaying(exponent=2.0)),
        ("10 classes, as wide as apart", c.Classes(separation=1.0)),
        ("10 classes, half as wide as apart", c.Classes(separation=2.0)),
        ("100 classes, half as wide as apart", c.Classes(number=100, separation=2.0)),
        ("shrunk to .01", c.Shrunk(scale=1e-2)),
        ("shrunk to 1e-6", c.Shrunk(scale=1e-6)),
        ("point", c.Point(spread=0.0)),
        ("point, spread .01", c.Point(spread=0.01)),
        ("subspace of 5 %", c.Subspace(share=0.05)),
        ("subspace of 10 %, noise .01", c.Subspace(share=0.1, noise=0.01)),
        ("subspace of 10 %, noise .05", c.Subspace(share=0.1, noise=0.05)),
        ("subspace of 25 %, noise .03", c.Subspace(share=0.25, noise=0.03)),
        ("curve", c.Surface(dimensions=1)),
        ("surface", c.Surface(dimensions=2)),
        ("surface, noise .05", c.Surface(dimensions=2, noise=0.05)),
        ("surface of 4 dimensions", c.Surface(dimensions=4)),
        ("8 clusters, spread 0", c.Clusters(spread=0.0)),
        ("8 clusters, spread .05", c.Clusters(spread=0.05)),
        ("8 clusters, spread .2", c.Clusters(spread=0.2)),
        ("constant target", c.ConstantTarget()),
        ("constant prediction", c.ConstantPrediction()),
        ("unrelated target", c.Unrelated()),
    ]
    cosine: list[tuple[str, c.Codes]] = [
        ("normal, mean 1, cosine", c.Gaussian(mean=1.0)),
        ("sphere, cosine", c.Sphere()),
        ("Student, cosine", c.HeavyTails()),
        ("10 classes, cosine", c.Classes(separation=2.0)),
        ("shrunk to 1e-3, cosine", c.Gaussian(deviation=1e-3)),  # of which a cosine sees nothing
        ("point, spread .01, cosine", c.Point(spread=0.01)),
        ("point, spread .2, cosine", c.Point(spread=0.2)),
        ("subspace of 10 %, noise .01, cosine", c.Subspace(share=0.1, noise=0.01)),
        ("surface, cosine", c.Surface(dimensions=2)),
        ("20 clusters, spread .1, cosine", c.Clusters(number=20, spread=0.1)),
        ("constant target, spread .01, cosine", c.ConstantTarget(spread=0.01)),
        ("unrelated target, cosine", c.Unrelated()),
    ]
    few = max(2, features // 8)
    return {
        **{name: (codes.kind, codes, DISTANCE) for name, codes in plain},
        **{name: (codes.kind, codes, COSINE) for name, codes in cosine},
        "latent of an eighth": ("none", c.Gaussian(), FreeEnergy(c.Explained(few))),
        "latent of all features": ("latent", c.Gaussian(), FreeEnergy(c.Explained(features))),
    }


def after(features: int) -> Cases:
    """The same of codes that were thought of when the thresholds stood: milder faults, and other shapes without any."""
    c = collapsed
    distance: dict[str, c.Codes] = {
        "rectified normal": Mapped(fn=torch.relu),
        "uniform in a cube": Mapped(fn=torch.erf),
        "normal, times its size": Mapped(fn=lambda h: h * h.abs()),
        "spectrum 1 / k^3": c.Decaying(exponent=3.0),
        "Student, 2 degrees of freedom": c.HeavyTails(freedom=2),
        "20 classes, a third as wide as apart": c.Classes(number=20, separation=3.0),
        "shrunk to .02": c.Shrunk(scale=0.02),
        "shrunk to .05": c.Shrunk(scale=0.05),
        "subspace of 40 %": c.Subspace(share=0.4),
        "subspace of 10 %, noise .1": c.Subspace(share=0.1, noise=0.1),
        "surface of 3 dimensions": c.Surface(dimensions=3),
        "surface of 6 dimensions": c.Surface(dimensions=6),
        "surface, noise .2": c.Surface(dimensions=2, noise=0.2),
        "8 clusters, spread .4": c.Clusters(spread=0.4),
        "40 clusters, spread .1": c.Clusters(number=40, spread=0.1),
        "100 clusters, spread .05": c.Clusters(number=100, spread=0.05),
        "constant target, spread .05": c.ConstantTarget(spread=0.05),
    }
    cosine: dict[str, c.Codes] = {
        "rectified normal, cosine": Mapped(fn=torch.relu),
        "spectrum 1 / k, cosine": c.Decaying(exponent=1.0),
        "point, spread .35, cosine": c.Point(spread=0.35),
        "subspace of 10 %, noise .05, cosine": c.Subspace(share=0.1, noise=0.05),  # tried before, and missed
        "8 clusters, spread .4, cosine": c.Clusters(spread=0.4),
    }
    most = features - features // 8
    return {
        **{name: (codes.kind, codes, DISTANCE) for name, codes in distance.items()},
        **{name: (codes.kind, codes, COSINE) for name, codes in cosine.items()},
        "latent of all but an eighth": ("latent", c.Gaussian(), FreeEnergy(c.Explained(most))),
    }
