"""The cross-entropy method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.population import (
    check_elites,
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
    """The distribution that each sample draws its candidates from, and how often it has."""

    mean: Tensor  # (N, D)
    deviation: Tensor  # (N, D)
    draws: Tensor  # (N,)


@final
@dataclass(frozen=True)
class CrossEntropyMethod(Solver):
    """`z_k ~ N(mean, deviation^2)`; mean and deviation are refitted to the `elites` of the lowest energy, and so on.

    Rubinstein and Kroese 2004, and de Boer et al. 2005, section 5: a normal distribution of independent coordinates,
    fitted by maximum likelihood. Of the old deviation the share `smoothing` is kept, which holds off a collapse short
    of the minimum (there `1 - alpha`; the mean is not smoothed), and it never falls below `minimum_deviation`. A step
    evaluates the mean and `population` candidates, all of them inside the constraints; the answer is the best of all.

    Energies may be steps or have no derivative: none is taken, and the choice of elites has none either, so that
    derivatives of z itself need `Implicit`. A sample has converged when no deviation is above the tolerance: its
    search has narrowed to a point, which is a minimum unless the deviation was too small, or the population, to see a
    better one. A minimum deviation above the tolerance keeps it searching for all of its steps.
    """

    gradient_free: ClassVar[bool] = True

    population: int = 64
    elites: int = 8
    deviation: float = 1.0
    smoothing: float = 0.5
    minimum_deviation: float = 0.0
    seed: int = 0
    steps: int = 200
    tolerance: float = 1e-4
    patience: int = 100

    def __post_init__(self) -> None:
        check_positive(self, "deviation")
        check_elites(self.elites, self.population)
        if not 0 <= self.smoothing < 1:
            raise ValueError(
                f"`smoothing` is the share of the old that is kept, from 0 to below 1, not {self.smoothing}"
            )
        if not 0 <= self.minimum_deviation <= self.deviation:
            raise ValueError(
                f"`minimum_deviation` is from 0 to the first deviation, {self.deviation}, not {self.minimum_deviation}"
            )

    def start(self, problem: Problem, z: Tensor) -> Point:
        return start_without_gradient(problem, z)

    def init(self, problem: Problem, point: Point) -> State:
        draws = torch.zeros(len(point.z), dtype=torch.long, device=point.z.device)
        return Search(point.z, torch.full_like(point.z, self.deviation), draws)

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        search = Search(*state)
        noise = normals(self.seed, search.draws, self.population, point.z)
        z, energies = evaluate(problem, search.mean, search.deviation * noise)
        best, theirs = elites(z[1:], energies[1:], self.elites)
        mean, deviation = refit(best, theirs, search.mean, search.deviation)
        deviation = self.smoothing * search.deviation + (1 - self.smoothing) * deviation
        after = Search(project(problem, mean), deviation.clamp_min(self.minimum_deviation), search.draws + 1)
        return lowest(point, z, energies), after

    def residual(self, problem: Problem, point: Point, state: State) -> Tensor:
        return Search(*state).deviation.amax(-1)

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        return 1 + steps * (1 + self.population)
