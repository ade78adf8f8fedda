"""What a free energy at a temperature is: the latent averaged out, where a minimum picks the best one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ebm.adjoint import Adjoint
from ebm.constraints import Constraint
from ebm.layout import Tree
from ebm.marginals.prior import Normal, Prior
from ebm.minimize import Minimum, Restarts, pose, run
from ebm.problem import Problem
from ebm.solvers.solver import Solver


@dataclass(frozen=True)
class Estimate:
    """A free energy for each sample of the batch, and how far it may be off."""

    value: Tensor
    """The free energies `(*batch,)`, with their derivatives."""
    error: Tensor
    """About one standard error of them, `(*batch,)`; each marginal says what it can know of it. Zero where exact."""
    effective_sample_size: Tensor
    """How many equally weighted samples the estimate is worth, `(*batch,)`; NaN where none were drawn."""
    modes: Tensor
    """How many distinct minima it is built on, `(*batch,)`; 0 where none were searched."""
    search: Minimum | None = None
    """How the solves behind it ended, None where there were none; their `z` is what they looked for."""

    @classmethod
    def of(cls, minimum: Minimum) -> Estimate:
        """The limit of no temperature."""
        energy = minimum.energy.detach()
        return cls(
            value=minimum.energy,
            error=torch.zeros_like(energy),
            effective_sample_size=torch.full_like(energy, torch.nan),
            modes=torch.ones_like(minimum.status),
            search=minimum,
        )


@dataclass(frozen=True)
class Marginal(ABC):
    """`F_beta = -1/beta log E_p exp(-beta E)` for each sample by itself, at the inverse temperature `beta`.

    The measure p is a prior or a set of candidates. An infinite beta is the minimum over z. Subclasses write
    `estimate`. All randomness is from seeds in the configuration, and the same for every sample of the batch, so that
    an estimate is a function of its sample alone.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta is positive, or infinite for the minimum, not {self.beta}")

    def __call__(
        self,
        problem: Problem,
        rows: Tensor,
        solver: Solver | None = None,
        restarts: int | Restarts = 1,
        adjoint: Adjoint | None = None,
    ) -> Estimate:
        """The estimate for a problem whose solves start from rows `(N, D)`; the adjoint matters to a minimum only.

        Raises ValueError for a constraint, since what it leaves of the space may have no volume.
        """
        if math.isinf(self.beta):
            return self.limit(problem, rows, solver, restarts, adjoint)
        if problem.domain is not None and any(isinstance(term, Constraint) for term in problem.domain.terms):
            raise ValueError(
                "at a temperature z is averaged over the prior of the marginal, and a constraint says nothing about"
                " volumes: leave out `within`, and give the marginal a prior such as Uniform(lower, upper)"
            )
        return self.estimate(problem, rows, solver, restarts)

    @abstractmethod
    def estimate(self, problem: Problem, rows: Tensor, solver: Solver | None, restarts: int | Restarts) -> Estimate:
        """The estimate at a finite beta."""

    def limit(
        self,
        problem: Problem,
        rows: Tensor,
        solver: Solver | None,
        restarts: int | Restarts,
        adjoint: Adjoint | None,
    ) -> Estimate:
        """The minimum, which is what is left at an infinite beta."""
        return Estimate.of(run(problem, rows, solver, adjoint, restarts))


@dataclass(frozen=True)
class Continuous(Marginal, ABC):
    """A marginal over a prior density. In the limit it is the minimum over the support of that."""

    prior: Prior = Normal()  # noqa: RUF009  # frozen

    def limit(
        self,
        problem: Problem,
        rows: Tensor,
        solver: Solver | None,
        restarts: int | Restarts,
        adjoint: Adjoint | None,
    ) -> Estimate:
        posed = self.prior.posed(problem, self.beta)
        return super().limit(posed, self.prior.project(rows), solver, restarts, adjoint)


def marginalise(
    fn: Callable[..., Tensor],
    start: Tree,
    marginal: Marginal,
    *,
    given: tuple[Tree, ...] | None = None,
    solver: Solver | None = None,
    restarts: int | Restarts = 1,
    penalty: Any = None,
) -> Estimate:
    """`F_beta = -1/beta log E_p exp(-beta fn(z, *given))` for every sample by itself.

    `fn`, `start`, `given`, `solver`, `restarts` and `penalty` are those of `minimize`: modes of the integrand are
    searched from `start`, and how many of them are found is up to `restarts`.
    """
    problem, rows = pose(fn, start, given, None, penalty)
    return marginal(problem, rows, solver, restarts)


def in_chunks(fn: Callable[..., Tensor], parts: tuple[Tensor, ...], size: int) -> Tensor:
    """`fn` of `size` entries of the leading axis at a time; where derivatives are wanted it is computed again for them.

    So no more than one chunk is in memory, whatever the number of samples drawn.
    """
    chunks = list(zip(*(part.split(max(size, 1)) for part in parts), strict=True))
    if len(chunks) == 1:
        return fn(*parts)
    if torch.is_grad_enabled():
        done = [checkpoint(fn, *chunk, use_reentrant=False, preserve_rng_state=False) for chunk in chunks]
    else:
        done = [fn(*chunk) for chunk in chunks]
    return torch.cat(done)


def sobol(count: int, features: int, seed: int) -> Tensor:
    """Scrambled Sobol points `(count, features)` strictly between 0 and 1, in double precision (Owen 1998)."""
    points = torch.quasirandom.SobolEngine(features, scramble=True, seed=seed).draw(count, dtype=torch.float64)
    return points.clamp(2.0**-33, 1 - 2.0**-33)  # the engine tells 2^30 numbers apart, of which one is zero


def effective_sample_size(log_weights: Tensor) -> Tensor:
    """`(sum w)^2 / sum w^2` over the leading axis (Kong 1992)."""
    return (2 * torch.logsumexp(log_weights, 0) - torch.logsumexp(2 * log_weights, 0)).exp()
