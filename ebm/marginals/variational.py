"""A latent that is kept uncertain, and pays for being certain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor

from ebm.layout import Layout
from ebm.marginals.marginal import Continuous, Estimate, effective_sample_size, sobol
from ebm.minimize import Restarts, run
from ebm.problem import Problem
from ebm.solvers.solver import Solver


@final
@dataclass(frozen=True)
class Variational(Continuous):
    """`F = min_q E_q[E] + KL(q | p) / beta >= F_beta` over normal q with independent features, for each sample
    (Jordan et al. 1999; Kingma and Welling 2014, with q inferred rather than predicted).

    The solver minimises over the means and the logarithms of the deviations. The expectation is over the same
    `samples` for all: scrambled Sobol points and their mirror images, whitened so that their mean and covariance are
    those of a normal distribution. So it is a function with a minimum, exact for a quadratic E, and its derivative is
    that of the energy at the samples (envelope theorem). Equal to F_beta where the posterior is such a q: for an E
    that is quadratic in each feature by itself, with a normal prior.

    The error is the standard error of the expectation. The gap to F_beta, which is `KL(q | posterior) / beta`, is not
    in it: a low `effective_sample_size` of the samples, weighted as in importance sampling, tells of a wide one. The
    `z` of `search` is the pair of the means and the deviations of q.
    """

    samples: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 4 or self.samples % 2:
            raise ValueError(f"the samples come in pairs, at least two of them, not {self.samples}")

    def estimate(self, problem: Problem, rows: Tensor, solver: Solver | None, restarts: int | Restarts) -> Estimate:
        noise = _whitened(self.samples, rows.shape[1], self.seed).to(rows)[:, None]
        batch = problem.layout.batch
        start = torch.cat([rows, torch.full_like(rows, -0.5 * math.log1p(self.beta))], -1)
        layout = Layout.of(start.reshape(*batch, -1), batch)
        posed = Problem(self._bound(problem, noise), layout, problem.given, resolution=problem.resolution)
        search = run(posed, start, solver, restarts=restarts)
        mean, deviation = _split(search.z.detach().reshape(start.shape))
        error, size = self._quality(problem, noise, mean, deviation)
        found = (problem.layout.tree(mean, batch), problem.layout.tree(deviation, batch))
        return Estimate(
            value=search.energy,
            error=error.reshape(batch),
            effective_sample_size=size.reshape(batch),
            modes=torch.ones_like(search.status),
            search=replace(search, z=found, starts=None),
        )

    def _bound(self, problem: Problem, noise: Tensor) -> Callable[..., Tensor]:
        """The bound as a function of `(mean, log deviation)` in one row, and of what the energy is given."""

        def bound(q: Tensor, *given: Any) -> Tensor:
            mean, deviation = _split(q.reshape(-1, q.shape[-1]))
            held = problem if problem.given is None else replace(problem, given=given)
            energy = held.candidates(mean + deviation * noise).mean(0)
            entropy = deviation.log().sum(-1) + mean.shape[-1] / 2 * math.log(2 * math.pi * math.e)
            divergence = self.prior.cross_entropy(mean, deviation) - entropy
            return (energy + divergence / self.beta).reshape(q.shape[:-1])

        return bound

    def _quality(self, problem: Problem, noise: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
        """The standard error of the expectation, and the effective size of its samples, both `(N,)`."""
        with torch.no_grad():
            z = mean + deviation * noise
            energies = problem.candidates(z)
            log_density = -noise.square().sum(-1) / 2 - deviation.log().sum(-1)
            weights = self.prior.log_density(z) - log_density - self.beta * energies
            pairs = energies.unflatten(0, (2, -1)).mean(0)
            return pairs.std(0) / math.sqrt(len(pairs)), effective_sample_size(weights)


def _split(q: Tensor) -> tuple[Tensor, Tensor]:
    """The means and deviations of rows `(N, 2 D)`."""
    mean, log_deviation = q.chunk(2, -1)
    return mean, log_deviation.exp()


def _whitened(count: int, features: int, seed: int) -> Tensor:
    """Points `(count, features)`, half of them the others mirrored, whose mean is 0 and whose covariance is 1.

    Raises ValueError for fewer than two points for each feature, which span no such covariance.
    """
    if count < 2 * features:
        raise ValueError(f"{features} features take at least {2 * features} samples, two each, not {count}")
    half = torch.special.ndtri(sobol(count // 2, features, seed))
    factor = torch.linalg.cholesky(half.T @ half / len(half))
    half = torch.linalg.solve_triangular(factor, half.T, upper=False).T
    return torch.cat([half, -half])
