"""The cross-entropy method as it is made for plans: coloured noise, elites that are kept, a population that decays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.population import (
    check_elites,
    colored,
    elites,
    evaluate,
    lowest,
    normals,
    project,
    refit,
    start_without_gradient,
)
from ebm.solvers.solver import Point, Problem, Solver, State, check_positive


class Search(NamedTuple):
    """The distribution that each sample draws its candidates from, the elites it has kept, and how often it has."""

    mean: Tensor  # (N, D)
    deviation: Tensor  # (N, D)
    kept: Tensor  # (N, D, kept)
    energies: Tensor  # (N, kept)
    draws: Tensor  # (N,)
    shrunk: Tensor  # (N, i): after i times, which is known without waiting for the device


@final
@dataclass(frozen=True)
class ImprovedCrossEntropy(Solver):
    """CrossEntropyMethod with `z_k ~ mean + deviation * noise_k`, the noise of power `1/f^color` along time: iCEM.

    Pinneri et al. 2020, algorithm 1, and their defaults. A latent `(*batch, time, ...)` is a sequence: its first axis
    after those of the batch is time, along which neighbours are correlated, so that a candidate goes somewhere rather
    than trembling about its start; each entry keeps a variance of 1. A `color` of 0 is white noise, as is any where z
    has one axis and no time. Step `i` draws `population shrink^-i` candidates, and not fewer than twice the elites. Of
    these the share `keep` stands for election again in the next step, at no evaluation. Mean and deviation keep the
    share `momentum` of the old. Candidates are clipped to the constraints.

    The mean is a candidate for the answer after every step, there in the last one only, and never an elite. The shift
    of a plan from one moment of control to the next is left to who calls: its start is the first mean.
    A sample has converged when no deviation is above the tolerance; fewer `steps` stop it earlier, as control does.
    """

    gradient_free: ClassVar[bool] = True

    population: int = 64
    elites: int = 10
    deviation: float = 0.5
    momentum: float = 0.1
    color: float = 2.0
    shrink: float = 1.25
    keep: float = 0.3
    seed: int = 0
    steps: int = 200
    tolerance: float = 1e-4
    patience: int = 100

    def __post_init__(self) -> None:
        check_positive(self, "deviation")
        check_elites(self.elites, self.population)
        for name in ("momentum", "keep"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"`{name}` is a share, from 0 to below 1, not {getattr(self, name)}")
        if not 1 <= self.shrink < math.inf:
            raise ValueError(f"the population is divided by a `shrink` of at least 1 in each step, not {self.shrink}")
        if not 0 <= self.color < math.inf:
            raise ValueError(f"`color` is the exponent of 1/f, from 0 for white noise, not {self.color}")

    def start(self, problem: Problem, z: Tensor) -> Point:
        return start_without_gradient(problem, z)

    def init(self, problem: Problem, point: Point) -> State:
        z, kept = point.z, int(self.keep * self.elites)
        draws = torch.zeros(len(z), dtype=torch.long, device=z.device)
        none = point.energy.new_full((len(z), kept), torch.inf)
        deviation = torch.full_like(z, self.deviation)
        return Search(z, deviation, z[:, :, None].expand(-1, -1, kept), none, draws, z.new_zeros(len(z), 0))

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        search = Search(*state)
        noise = normals(self.seed, search.draws, self._size(search.shrunk.shape[1]), point.z)
        noise = colored(noise, problem.layout, self.color)
        z, energies = evaluate(problem, search.mean, search.deviation * noise)
        best, theirs = elites(z[1:], energies[1:], self.elites, search.kept, search.energies)
        mean, deviation = refit(best, theirs, search.mean, search.deviation)
        mean = self.momentum * search.mean + (1 - self.momentum) * mean
        kept = search.energies.shape[1]
        after = Search(
            mean=project(problem, mean),
            deviation=self.momentum * search.deviation + (1 - self.momentum) * deviation,
            kept=best[..., :kept],
            energies=theirs[:, :kept],
            draws=search.draws + 1,
            shrunk=self._next(search.shrunk),
        )
        return lowest(point, z, energies), after

    def residual(self, problem: Problem, point: Point, state: State) -> Tensor:
        return Search(*state).deviation.amax(-1)

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        sizes = [self._size(i) for i in range(self._smallest)]
        spent = torch.tensor([0, *sizes], device=steps.device).cumsum(0)
        beyond = (steps - self._smallest).clamp_min(0) * self._size(self._smallest)
        return 1 + steps + spent[steps.clamp_max(self._smallest)] + beyond

    def _size(self, shrunk: int) -> int:
        """How many candidates are drawn once the population has shrunk so often."""
        fewest = min(2 * self.elites, self.population)
        return max(int(self.population * self.shrink**-shrunk), fewest)

    @property
    def _smallest(self) -> int:
        """How often the population shrinks until it no longer does."""
        ratio = self.population / min(2 * self.elites, self.population)
        return 0 if self.shrink == 1 else math.ceil(math.log(ratio) / math.log(self.shrink))

    def _next(self, shrunk: Tensor) -> Tensor:
        count = min(shrunk.shape[1] + 1, self._smallest)
        return shrunk.new_zeros(len(shrunk), count)
