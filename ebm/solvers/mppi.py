"""Model-predictive path integral control, as a minimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.population import evaluate, lowest, normals, project, start_without_gradient
from ebm.solvers.solver import Point, Problem, Solver, State, check_positive


class Search(NamedTuple):
    """The mean of each sample's candidates, and how often it has moved."""

    mean: Tensor  # (N, D)
    draws: Tensor  # (N,)


@final
@dataclass(frozen=True)
class MPPI(Solver):
    """`mean <- sum_k w_k z_k`, `w_k ~ exp(-E(z_k) / (temperature s))`, `z_k ~ N(mean, deviation_t^2)`.

    Model-predictive path integrals (Williams et al. 2017, algorithm 2, with what controls cost left to the energy).
    There the temperature is in units of energy; here it is a share of `s`, the standard deviation of the energies of
    the population, so that neither the scale of an energy nor a constant added to it changes the answer. The deviation
    is annealed, `deviation_t = deviation decay^t`, so that the mean comes to rest: a decay of 1 keeps it fixed as it is
    in control, and takes all of its steps or stalls. A step evaluates the mean and `population` candidates, all of them
    inside the constraints; the answer is the best of all.

    Energies may be steps or have no derivative: none is taken. A sample has converged when the deviation is not above
    the tolerance: its search has narrowed to a point, which is a minimum unless the deviation was too small, or shrank
    too fast, to come to it.
    """

    gradient_free: ClassVar[bool] = True

    population: int = 64
    temperature: float = 0.2
    deviation: float = 1.0
    decay: float = 0.9
    seed: int = 0
    steps: int = 200
    tolerance: float = 1e-4
    patience: int = 100

    def __post_init__(self) -> None:
        check_positive(self, "temperature", "deviation", "population")
        if not 0 < self.decay <= 1:
            raise ValueError(
                f"the deviation shrinks by a `decay` above 0 and up to 1 in each step, not by {self.decay}"
            )

    def start(self, problem: Problem, z: Tensor) -> Point:
        return start_without_gradient(problem, z)

    def init(self, problem: Problem, point: Point) -> State:
        return Search(point.z, torch.zeros(len(point.z), dtype=torch.long, device=point.z.device))

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        search = Search(*state)
        noise = normals(self.seed, search.draws, self.population, point.z)
        z, energies = evaluate(problem, search.mean, self._deviation(search, point) * noise)
        # Sums run along the last axis, so that how they round does not depend on how many samples there are.
        weights = _weights(energies.T.contiguous(), self.temperature)
        mean = (weights[:, None] * z.permute(1, 2, 0)).contiguous().sum(-1)
        return lowest(point, z, energies), Search(project(problem, mean), search.draws + 1)

    def residual(self, problem: Problem, point: Point, state: State) -> Tensor:
        return self._deviation(Search(*state), point).expand(len(point.z))

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        return 1 + steps * (1 + self.population)

    def _deviation(self, search: Search, point: Point) -> Tensor:
        """One for all samples, `(1,)`, since all have taken as many steps."""
        return self.deviation * self.decay ** search.draws[:1].to(point.z.dtype)


def _weights(energies: Tensor, temperature: float) -> Tensor:
    """Weights `(N, K)` that sum to one for each sample; equal ones where no energy differs or none is finite."""
    finite = energies.isfinite()
    number = finite.sum(-1, keepdim=True).clamp_min(1)
    lowest = torch.where(finite, energies, torch.inf).amin(-1, keepdim=True)
    above = torch.where(finite, energies - lowest, 0)
    offset = torch.where(finite, above - above.sum(-1, keepdim=True) / number, 0)
    spread = (offset.square().sum(-1, keepdim=True) / number).sqrt()
    exponents = -above / (temperature * torch.where(spread > 0, spread, 1))
    return torch.where(finite | ~finite.any(-1, keepdim=True), exponents, -torch.inf).softmax(-1)
