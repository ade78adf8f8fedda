"""The cross-entropy method for choices: one-hot latents, whose probabilities are refitted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.population import elites, evaluate, lowest, refit, start_without_gradient, uniforms
from ebm.solvers.solver import Point, Problem, Solver, State


class Search(NamedTuple):
    """The probability of each category of each choice, and how often candidates were drawn from it."""

    probability: Tensor  # (N, D)
    draws: Tensor  # (N,)


@final
@dataclass(frozen=True)
class CategoricalCrossEntropy(Solver):
    """`z_k ~ probability`, one-hot along the last axis; the probability is refitted to the `elites`, and so on.

    Rubinstein and Kroese 2004, section 4; de Boer et al. 2005: of the old probability the share `smoothing` is kept
    (there `1 - alpha`). For a latent `(*batch, ..., categories)`, such as a plan `(*batch, horizon, actions)` of
    discrete actions; Enumeration is exact where there are few of them altogether. A step evaluates the most probable
    latent and `population` candidates, and the answer, the best of all, is one-hot.

    Where z starts is rounded to one-hot, and has the share `1 - exploration` of the first probability; the rest is
    spread evenly, which is all of it unless given. Energies need no derivative. A sample has converged when no choice
    is open by more than the tolerance. Raises ValueError where constraints do not let z be one-hot.
    """

    gradient_free: ClassVar[bool] = True

    population: int = 64
    elites: int = 8
    exploration: float = 1.0
    smoothing: float = 0.5
    seed: int = 0
    steps: int = 200
    tolerance: float = 1e-4
    patience: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.elites <= self.population:
            raise ValueError(
                f"probabilities are those of at least 1 of the elites, out of the population: got {self.elites} elites"
                f" of {self.population}; a tenth of the population is usual"
            )
        if not 0 <= self.smoothing < 1 or not 0 < self.exploration <= 1:
            raise ValueError(
                "`smoothing` is the share of the old that is kept, from 0 to below 1, and `exploration` the share that"
                f" is spread evenly at first, above 0 and up to 1, not {self.smoothing} and {self.exploration}"
            )

    def start(self, problem: Problem, z: Tensor) -> Point:
        rounded = _each(problem, _one_hot_of_largest, z)
        point = start_without_gradient(problem, rounded)
        if not torch.equal(point.z, rounded):
            raise ValueError(
                "a choice is one-hot, which the constraints on z do not let it be: do without `within`, since the"
                " answer is one-hot anyway"
            )
        return point

    def init(self, problem: Problem, point: Point) -> State:
        spread = _each(problem, lambda z: torch.full_like(z, 1 / z.shape[-1]), point.z)
        first = self.exploration * spread + (1 - self.exploration) * point.z
        return Search(first, torch.zeros(len(point.z), dtype=torch.long, device=point.z.device))

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        search = Search(*state)
        likeliest = _each(problem, _one_hot_of_largest, search.probability)
        z, energies = evaluate(problem, likeliest, self._drawn(problem, search) - likeliest)
        best, theirs = elites(z[1:], energies[1:], self.elites)
        shares, _ = refit(best, theirs, search.probability, search.probability)
        probability = self.smoothing * search.probability + (1 - self.smoothing) * shares
        return lowest(point, z, energies), Search(probability, search.draws + 1)

    def residual(self, problem: Problem, point: Point, state: State) -> Tensor:
        left = _each(problem, lambda p: (1 - p.amax(-1, keepdim=True)).expand_as(p), Search(*state).probability)
        return left.amax(-1)

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        return 1 + steps * (1 + self.population)

    def _drawn(self, problem: Problem, search: Search) -> Tensor:
        """Candidates `(population, N, D)`: of each choice the category in whose share of the line a number falls."""
        probability = search.probability
        uniform = uniforms(self.seed, search.draws, self.population, probability.shape[1], probability)

        def drawn(p: Tensor, u: Tensor) -> Tensor:
            index = (u[..., :1] > p.cumsum(-1)[..., :-1]).sum(-1)
            return torch.nn.functional.one_hot(index, p.shape[-1]).to(p)

        return _each(
            problem, drawn, probability.expand(self.population, -1, -1), uniform.expand(-1, len(probability), -1)
        )


def _one_hot_of_largest(z: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(z.argmax(-1), z.shape[-1]).to(z)


def _each(problem: Problem, fn: Callable[..., Tensor], *rows: Tensor) -> Tensor:
    """`fn` of each part of z, with its choices `(*rows, ..., categories)`, as rows again."""
    lead = rows[0].shape[:-1]
    parts = zip(*(problem.layout.leaves(row) for row in rows), strict=True)
    return torch.cat([fn(*part).flatten(len(lead)) for part in parts], -1)
