"""Samples of the prior, carried to where the integrand is large in many small steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.marginals.marginal import Continuous, Estimate, effective_sample_size, sobol
from ebm.marginals.prior import Prior
from ebm.minimize import Restarts
from ebm.problem import Problem, value_and_gradient
from ebm.solvers.solver import Solver


@final
@dataclass(frozen=True)
class AnnealedImportanceSampling(Continuous):
    """`-1/beta log mean_i w_i`, `log w_i = -beta sum_t (b_t - b_t-1) E(z_t-1)`, for particles that start from the prior
    p and move by Hamiltonian Monte Carlo on `p exp(-b_t beta E)` (Neal 2001).

    The levels are `b_t = (t / temperatures)^power`: closer where E still decides everything. No modes are searched,
    and it holds where importance sampling does not: above some ten features. `exp(-beta F)` is unbiased, so that F
    is too high by half of `beta error^2` on average; the step size, which follows the share of moves accepted for each
    sample, adds a bias that falls with the number of particles.

    The error is the standard error of the mean weight (delta method). The derivative is the mean of dE by the weights
    over the final particles, which is biased in the same way: of order one over `effective_sample_size`.
    """

    particles: int = 64
    temperatures: int = 200
    leapfrog_steps: int = 5
    power: float = 4.0
    acceptance: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prior.proper:
            raise ValueError(
                f"annealing starts from samples of the prior, and {self.prior} has none: give a proper one, such as"
                " Normal(scale) or Uniform(lower, upper), or use ImportanceSampling"
            )
        if self.particles < 2 or self.temperatures < 1 or self.leapfrog_steps < 1:
            raise ValueError(
                "annealing takes at least 2 particles, 1 temperature and 1 leapfrog step, not"
                f" {self.particles}, {self.temperatures} and {self.leapfrog_steps}"
            )
        if not self.power > 0 or not 0 < self.acceptance < 1:
            raise ValueError(
                f"the power is positive and the acceptance between 0 and 1, not {self.power} and {self.acceptance}"
            )

    def estimate(self, problem: Problem, rows: Tensor, solver: Solver | None, restarts: int | Restarts) -> Estimate:
        with torch.no_grad():
            z, weights = self._anneal(problem.detached().repeated(self.particles), rows)
        shares = torch.softmax(weights, 0)
        energies = problem.candidates(z)
        value = (math.log(self.particles) - weights.logsumexp(0)) / self.beta
        if energies.requires_grad:
            value = value + (shares * (energies - energies.detach())).sum(0)
        error = (self.particles * shares).std(0) / math.sqrt(self.particles) / self.beta
        batch = problem.layout.batch
        return Estimate(
            value=value.reshape(batch),
            error=error.reshape(batch),
            effective_sample_size=effective_sample_size(weights).reshape(batch),
            modes=torch.zeros_like(error, dtype=torch.long).reshape(batch),
        )

    def _anneal(self, problem: Problem, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The final particles `(P, N, D)` and the logarithms of their weights, `(P, N)`."""
        generator = torch.Generator().manual_seed(self.seed)
        first = self.prior.quantile(sobol(self.particles, rows.shape[1], self.seed)).to(rows)
        place = _evaluate(problem, first[:, None].expand(-1, *rows.shape), self.prior)
        weights = torch.zeros_like(place.energy)
        spread = first.std(0).amin() if self.particles > 1 else first.new_ones(())
        length = spread.expand(len(rows)) / rows.shape[1] ** 0.25
        level = 0.0
        for t in range(1, self.temperatures + 1):
            last, level = level, (t / self.temperatures) ** self.power
            weights = weights - self.beta * (level - last) * place.energy
            place, accepted = self._move(problem, place, level * self.beta, length, generator)
            # Halves the step in three moves of which none is taken, and finds its way back.
            length = length * torch.exp(0.4 * (accepted - self.acceptance))
        return place.z, weights

    def _move(
        self, problem: Problem, place: _Place, beta: float, length: Tensor, generator: torch.Generator
    ) -> tuple[_Place, Tensor]:
        """One move of every particle, with the same noise for all samples, and the share of each that was taken."""
        shape = (len(place.z), 1)
        momentum = torch.randn(*shape, place.z.shape[-1], generator=generator, dtype=torch.float64).to(place.z)
        threshold = torch.empty(shape, dtype=torch.float64).exponential_(generator=generator).to(place.z)
        step = length[:, None]
        new, end = place, momentum - step / 2 * place.slope(beta)
        for left in reversed(range(self.leapfrog_steps)):
            new = _evaluate(problem, new.z + step * end, self.prior)
            end = end - (step if left else step / 2) * new.slope(beta)
        change = new.height(beta) - place.height(beta) + (end.square() - momentum.square()).sum(-1) / 2
        taken = change < threshold
        place = _Place(*(torch.where(_as(taken, a), a, b) for a, b in zip(new, place, strict=True)))
        return place, taken.to(length.dtype).mean(0)


class _Place(NamedTuple):
    """Where the particles are."""

    z: Tensor  # (P, N, D)
    energy: Tensor  # (P, N), infinite where it is not a number
    gradient: Tensor  # (P, N, D)
    log_prior: Tensor  # (P, N)
    score: Tensor  # (P, N, D)

    def height(self, beta: float) -> Tensor:
        return beta * self.energy - self.log_prior

    def slope(self, beta: float) -> Tensor:
        return beta * self.gradient - self.score


def _evaluate(problem: Problem, z: Tensor, prior: Prior) -> _Place:
    """Energies are not asked for outside of the support of the prior, where they may not be defined."""
    energy, gradient = value_and_gradient(problem.energies, prior.project(z).flatten(0, 1))
    energy = torch.where(energy.isnan(), torch.inf, energy).unflatten(0, z.shape[:2])
    return _Place(z, energy, gradient.reshape(z.shape), prior.log_density(z), prior.score(z))


def _as(mask: Tensor, like: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (like.ndim - 2))
