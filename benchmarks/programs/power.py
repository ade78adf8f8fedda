"""How often one statistic tells codes that depend on each other from codes that do not, and what it reads off surfaces.

    python benchmarks/programs/power.py --statistic=SIGReg --seed=0

Power at the level 5 %: the share of samples on which the statistic lies beyond all but 5 % of its values on samples
without dependence (an exact level: beyond the k-th of n, `k = 0.05 (n + 1)`). Those are samples of the same
distribution with each column permuted for itself (`power/...`), or of N(0, I) (`normality/...`). Called by `ebm study
run benchmarks/studies/power.yaml`, once for each statistic and seed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

import ebm.meters as meters
from ebm.data import (
    Circle,
    CorrelatedNormal,
    IndependentNormal,
    IndependentUniform,
    MirroredCheckerboard,
    Parity,
    SignFlip,
    Spiral,
    Spirals,
    ThinSurface,
)
from ebm.data.dependence import Dependent
from ebm.meters.dependence import chatterjee, distance_correlation, pairwise
from ebm.meters.entropy import negentropy, quantised_entropy
from ebm.meters.information import gaussian_total_correlation, total_correlation
from ebm.meters.intrinsic_dimension import maximum_likelihood, two_nn
from ebm.regularizers import (
    BHEP,
    HSIC,
    CodingRate,
    Covariance,
    DistanceCorrelation,
    FroSSL,
    KoLeo,
    RandomFeatureHSIC,
    SIGReg,
    SlicedAndersonDarling,
    SlicedCramerVonMises,
    SlicedWasserstein,
    Uniformity,
)
from ebm.study.program import publish

LEVEL = 0.05


class Statistic(NamedTuple):
    """A number of codes `(N, D)`, whether dependence raises it (1) or lowers it (-1), and whether it is slow."""

    value: Callable[[Tensor], float]
    direction: int = 1
    slow: bool = False


def regularizer(module: nn.Module, slow: bool = False) -> Statistic:
    """The value of a regularizer at its defaults, in single precision, as in training. It is to go down."""
    return Statistic(lambda codes: float(module(codes.float())), 1, slow)


def greatest_correlation(codes: Tensor) -> float:
    """The greatest absolute Pearson correlation of two columns."""
    return float(codes.T.corrcoef().fill_diagonal_(0).abs().max())


def greatest_rank_correlation(codes: Tensor) -> float:
    """The greatest absolute Spearman correlation of two columns."""
    return greatest_correlation(torch.from_numpy(rankdata(codes.numpy(), axis=0)))


STATISTICS: Mapping[str, Statistic] = {
    "pearson": Statistic(greatest_correlation),
    "spearman": Statistic(greatest_rank_correlation),
    "chatterjee": Statistic(lambda codes: pairwise(codes, chatterjee).greatest),
    "distance_correlation": Statistic(lambda codes: pairwise(codes, distance_correlation).greatest),
    "gaussian_total_correlation": Statistic(gaussian_total_correlation),
    "total_correlation": Statistic(total_correlation),
    "negentropy": Statistic(negentropy),
    "quantised_entropy": Statistic(quantised_entropy, -1),
    "two_nn": Statistic(two_nn, -1),
    "maximum_likelihood": Statistic(maximum_likelihood, -1),
    "effective_rank": Statistic(meters.effective_rank, -1),
    "rankme": Statistic(meters.rankme, -1),
    "stable_rank": Statistic(meters.stable_rank, -1),
    "participation_ratio": Statistic(meters.participation_ratio, -1),
    "nesum": Statistic(meters.nesum, -1),
    "alpha_req": Statistic(meters.alpha_req),
    "condition_number": Statistic(meters.condition_number),
    "Covariance": regularizer(Covariance()),
    "CodingRate": regularizer(CodingRate()),
    "FroSSL": regularizer(FroSSL()),
    "Uniformity": regularizer(Uniformity()),
    "KoLeo": regularizer(KoLeo()),
    "HSIC": regularizer(HSIC(), slow=True),
    "RandomFeatureHSIC": regularizer(RandomFeatureHSIC()),
    "DistanceCorrelation": regularizer(DistanceCorrelation(), slow=True),
    "SIGReg": regularizer(SIGReg()),
    "SlicedCramerVonMises": regularizer(SlicedCramerVonMises()),
    "SlicedAndersonDarling": regularizer(SlicedAndersonDarling()),
    "SlicedWasserstein": regularizer(SlicedWasserstein()),
    "BHEP": regularizer(BHEP()),
    "BHEP_3": regularizer(BHEP(beta=3.0)),
    "BHEP_Henze_Zirkler": regularizer(BHEP(beta=None)),
}

PLANE: Mapping[str, Dependent] = {
    "spiral": Spiral(),
    "circle": Circle(),
    "checkerboard": MirroredCheckerboard(),
    "sign_flip": SignFlip(),
    "correlated_0.2": CorrelatedNormal(rho=0.2),
    "correlated_0.5": CorrelatedNormal(rho=0.5),
    "correlated_0.9": CorrelatedNormal(rho=0.9),
    "parity": Parity(),
    "independent_normal": IndependentNormal(),
    "independent_uniform": IndependentUniform(),
}
SIZES = (256, 1024, 4096)
DIMENSIONS = (2, 8, 32, 128)
LATENTS = (1, 2, 4)
ROWS = 1024  # of spirals in many dimensions and of surfaces

# Independent codes with the same columns: what permuting would make, drawn once for all that share it.
NORMAL = {
    "plane": IndependentNormal(),
    "parity": IndependentNormal(dimensions=3),
    **{f"in_{d}": IndependentNormal(dimensions=d) for d in (*DIMENSIONS, 64)},
}
SHARED: Mapping[str, Dependent] = {
    **dict.fromkeys(("sign_flip", "correlated_0.2", "correlated_0.5", "correlated_0.9"), NORMAL["plane"]),
    "independent_normal": NORMAL["plane"],
    "parity": NORMAL["parity"],
    **dict.fromkeys(("independent_uniform", "checkerboard"), IndependentUniform()),
}


class Draws(NamedTuple):
    """How many samples with dependence, and how many without."""

    alternatives: int
    nulls: int


def draws(numbers: int, slow: bool) -> Draws:
    """For samples of so many numbers, rows times columns, and each seed; `slow` ones have one seed for the largest."""
    if numbers <= 3 * 256:
        return Draws(20, 39)
    return Draws(10 if slow or numbers <= 3 * 1024 else 5, 19)


Purpose = Literal["with", "without", "permuted"]


class Experiment:
    """One statistic with one seed. What is drawn for one purpose does not depend on what else is asked."""

    def __init__(self, name: str, seed: int) -> None:
        self.statistic, self.seed = STATISTICS[name], seed
        self.nulls: dict[tuple[Dependent, int, Purpose], list[float]] = {}
        self.seconds: dict[str, list[float]] = {}

    def values(self, source: Dependent, rows: int, purpose: Purpose, clock: str) -> list[float]:
        """The statistic, on samples of so many rows; larger with more dependence whichever way it goes itself."""
        generator = np.random.default_rng([self.seed, rows, *f"{purpose} {source}".encode()])
        torch.manual_seed(int(generator.integers(2**31)))  # the regularizers' directions and frequencies
        counts = draws(rows * source.draw(1, generator)[0].size, self.statistic.slow)
        found = []
        for _ in range(counts.alternatives if purpose == "with" else counts.nulls):
            points = source.draw(rows, generator)[0]
            codes = torch.from_numpy(generator.permuted(points, axis=0) if purpose == "permuted" else points)
            start = time.process_time()
            found.append(self.statistic.direction * self.statistic.value(codes))
            self.seconds.setdefault(clock, []).append(time.process_time() - start)
        return found

    def without(self, source: Dependent, rows: int, purpose: Purpose, clock: str) -> list[float]:
        """The values without dependence, computed once for all that they are compared with."""
        key = (source, rows, purpose)
        if key not in self.nulls:
            self.nulls[key] = self.values(source, rows, purpose, clock)
        return self.nulls[key]

    def compare(self, name: str, source: Dependent, rows: int, normal: Dependent, clock: str) -> dict[str, float]:
        """Power against independent columns, and against N(0, I) (in many dimensions not of what is slow)."""
        found = self.values(source, rows, "with", clock)
        same = SHARED.get(name)
        base = self.without(same or source, rows, "without" if same else "permuted", clock)
        shares = {f"power/{name}/{rows}": power(found, base)}
        if name in PLANE or not self.statistic.slow:
            shares[f"normality/{name}/{rows}"] = power(found, self.without(normal, rows, "without", clock))
        return shares

    def plane(self, sizes: Sequence[int]) -> dict[str, float]:
        """Two or three dimensions, at each size of a sample."""
        found: dict[str, float] = {}
        for rows in sizes:
            for name, source in PLANE.items():
                normal = NORMAL["parity" if name == "parity" else "plane"]
                found |= self.compare(name, source, rows, normal, str(rows))
        return found

    def pairs(self, dimensions: Sequence[int]) -> dict[str, float]:
        """Spirals between pairs of more and more dimensions, rotated or not."""
        found: dict[str, float] = {}
        for d in dimensions:
            for rotated in (False, True):
                source = Spirals(dimensions=d, rotated=rotated)
                name = f"{'rotated' if rotated else 'spirals'}_{d}"
                found |= self.compare(name, source, ROWS, NORMAL[f"in_{d}"], f"in_{d}")
        return found

    def surfaces(self, latents: Sequence[int]) -> dict[str, float]:
        """Mean readings, and power against N(0, I), of thin surfaces in 64 dimensions."""
        normal = NORMAL["in_64"]
        if not latents:
            return {}
        base = self.without(normal, ROWS, "without", "in_64")
        found = {"reading/normal_64": self.statistic.direction * float(np.mean(base))}
        for count in latents:
            values = self.values(ThinSurface(latents=count), ROWS, "with", "in_64")
            found[f"reading/thin_{count}"] = self.statistic.direction * float(np.mean(values))
            found[f"normality/thin_{count}/{ROWS}"] = power(values, base)
        return found

    def milliseconds(self) -> dict[str, float]:
        """Processor time of one value, the median."""
        return {f"milliseconds/{name}": 1e3 * float(np.median(taken)) for name, taken in self.seconds.items()}


def power(found: Sequence[float], without: Sequence[float]) -> float:
    """The share of values above the k-th largest of n without dependence, `k = 0.05 (n + 1)`: exactly 5 % by chance."""
    threshold = sorted(without, reverse=True)[int(LEVEL * (len(without) + 1)) - 1]
    return sum(value > threshold for value in found) / len(found)


@torch.no_grad()
def main() -> None:
    """All that is asked of one statistic, as the last line of what is printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--statistic", choices=list(STATISTICS), required=True, help="which statistic")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (%(default)s)")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="rows of samples in the plane")
    parser.add_argument("--dimensions", type=int, nargs="*", default=DIMENSIONS, help="of spirals between pairs")
    parser.add_argument("--latents", type=int, nargs="*", default=LATENTS, help="of thin surfaces")
    options = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # what a value costs is told in time of one processor
    experiment = Experiment(options.statistic, options.seed)
    if experiment.statistic.slow and options.seed > 0:
        options.sizes = [rows for rows in options.sizes if rows <= ROWS]
        options.dimensions, options.latents = [d for d in options.dimensions if d <= 8], []
    found = experiment.plane(options.sizes) | experiment.pairs(options.dimensions)
    found |= experiment.surfaces(options.latents)
    publish(found | experiment.milliseconds())


if __name__ == "__main__":
    main()
