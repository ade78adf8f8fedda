"""Samples drawn where the integrand is large, and weighted by how much too often they were drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.marginals.marginal import Continuous, Estimate, effective_sample_size, in_chunks, sobol
from ebm.marginals.modes import Modes, find_modes
from ebm.minimize import Restarts
from ebm.problem import Problem
from ebm.solvers.solver import Solver

WIDE = 10.0
"""How many times wider than the modes the defensive share is drawn where the prior cannot be sampled from."""


@final
@dataclass(frozen=True)
class ImportanceSampling(Continuous):
    """`-1/beta log mean_s exp(-beta E(z_s)) p(z_s) / q(z_s)`, for z_s from a mixture q of normal distributions at the
    modes of `p exp(-beta E)` and of the prior p (Hesterberg 1995; Owen and Zhou 2000).

    The modes are those that the restarts find; their covariances are the inverse Hessians over beta, `inflation` times.
    The prior gets the share `defensive`, which bounds the weights, and finds what the restarts have missed; for
    Lebesgue, which cannot be sampled from, it goes to the modes once more, ten times as wide. The samples are
    `replicates` scrambled Sobol nets of `samples / replicates` points each: best if that is a power of two.

    The error is the standard error of the mean over replicates (delta method). It knows no more than the samples saw:
    look at `effective_sample_size` too, and expect little above some ten features. The derivative is the mean of dE
    by the weights, with samples and q held constant: exact for this estimate but for their own change, which tends
    to nothing with the number of samples.
    """

    samples: int = 1024
    inflation: float = 1.5
    defensive: float = 0.25
    replicates: int = 8
    seed: int = 0
    rows_at_once: int = 2**16
    """How many energies are in memory at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replicates < 2 or self.samples < self.replicates or self.samples % self.replicates:
            raise ValueError(
                f"the samples are split over at least 2 replicates, as many for each, but {self.samples} samples were"
                f" asked for in {self.replicates} replicates"
            )
        if not self.inflation > 0 or not 0 < self.defensive < 1:
            raise ValueError(
                f"the inflation is positive and the defensive share between 0 and 1, not {self.inflation} and"
                f" {self.defensive}"
            )

    def estimate(self, problem: Problem, rows: Tensor, solver: Solver | None, restarts: int | Restarts) -> Estimate:
        _, modes = find_modes(problem, rows, self.prior, self.beta, solver, restarts)
        proposal = self._proposal(modes)
        n, d = rows.shape
        count = self.samples // self.replicates
        points = torch.cat([sobol(count, d + 1, self.seed + r) for r in range(self.replicates)])
        normal, other = torch.special.ndtri(points[:, 1:]), self._from_prior(points[:, 1:])

        def weigh(which: Tensor, normal: Tensor, other: Tensor) -> Tensor:
            return self._log_weights(problem, proposal, which, normal, other)

        noise = (points[:, :1].to(rows), normal.to(rows), other.to(rows))
        # The densities of all components at a sample are larger than its energy's inputs.
        weights = in_chunks(weigh, noise, self.rows_at_once // max(n * len(proposal.mean), 1))
        held = weights.detach()
        batch = problem.layout.batch
        return Estimate(
            value=(math.log(self.samples) - weights.logsumexp(0)).div(self.beta).reshape(batch),
            error=(_error(held, self.replicates) / self.beta).reshape(batch),
            effective_sample_size=effective_sample_size(held).reshape(batch),
            modes=modes.distinct.sum(0).reshape(batch),
            search=modes.search,
        )

    def _from_prior(self, uniform: Tensor) -> Tensor:
        return self.prior.quantile(uniform) if self.prior.proper else torch.zeros_like(uniform)

    def _proposal(self, modes: Modes) -> _Mixture:
        """Normal distributions at the modes: seven parts by their masses, three alike."""
        size = modes.curvatures.abs()
        size = torch.maximum(size, 1e-6 * size.amax(-1, keepdim=True)).clamp_min(torch.finfo(size.dtype).tiny ** 0.5)
        deviation = (self.inflation / (self.beta * size)).sqrt()
        mass = torch.where(modes.distinct, -self.beta * modes.energy + deviation.log().sum(-1), -torch.inf)
        alike = modes.distinct.to(mass.dtype)
        share = 0.7 * torch.softmax(mass, 0).nan_to_num() + 0.3 * alike / alike.sum(0).clamp_min(1)
        share[0] = torch.where(modes.distinct.any(0), share[0], 1)
        if self.prior.proper:
            return _Mixture(modes.z, modes.axes, deviation, share * (1 - self.defensive))
        return _Mixture(
            modes.z.repeat(2, 1, 1),
            modes.axes.repeat(2, 1, 1, 1),
            torch.cat([deviation, WIDE * deviation]),
            torch.cat([share * (1 - self.defensive), share * self.defensive]),
        )

    def _log_weights(
        self, problem: Problem, proposal: _Mixture, which: Tensor, normal: Tensor, other: Tensor
    ) -> Tensor:
        """`log(exp(-beta E) p / q)`, `(S, N)`; minus infinity where the prior is zero or E is not a number."""
        with torch.no_grad():
            z = proposal.sample(which, normal, other)
            log_prior = self.prior.log_density(z)
            density = proposal.log_density(z)
            if self.prior.proper:
                density = torch.logaddexp(density, log_prior + math.log(self.defensive))
            inside = self.prior.project(z)
        energy = problem.candidates(inside)
        return torch.where(log_prior.isfinite() & ~energy.isnan(), log_prior - density - self.beta * energy, -torch.inf)


class _Mixture(NamedTuple):
    """C normal distributions for each of N samples, whose shares may leave something for another component."""

    mean: Tensor  # (C, N, D)
    axes: Tensor  # (C, N, D, D), orthonormal columns
    deviation: Tensor  # (C, N, D), along the axes
    share: Tensor  # (C, N)

    def sample(self, which: Tensor, normal: Tensor, other: Tensor) -> Tensor:
        """Samples `(S, N, D)` by uniform `which` (S, 1) and normal (S, D) numbers; `other` (S, D) for what is left."""
        ends = self.share.cumsum(0)
        index = torch.searchsorted(ends.T.contiguous(), which.expand(-1, ends.shape[1]).T.contiguous()).T
        rest = index == len(self.share)
        # Where shares add up to one but for rounding, nothing is left.
        rest = rest & (ends[-1] < 1 - 1e-3)
        index, samples = index.clamp_max(len(self.share) - 1), torch.arange(ends.shape[1], device=ends.device)
        # By the symmetric root, which is one matrix whatever signs and order the axes were found in.
        axes, deviation = self.axes[index, samples], self.deviation[index, samples]
        along = deviation * (axes.mT @ normal[:, None, :, None])[..., 0]
        z = self.mean[index, samples] + (axes @ along[..., None])[..., 0]
        return torch.where(rest[..., None], other[:, None], z)

    def log_density(self, z: Tensor) -> Tensor:
        """`log sum_c share_c N_c(z)`, `(S, N)`."""
        along = torch.einsum("cnij,scni->scnj", self.axes, z[:, None] - self.mean) / self.deviation
        log_height = -self.deviation.log().sum(-1) - z.shape[-1] / 2 * math.log(2 * math.pi)
        return torch.logsumexp(self.share.log() + log_height - along.square().sum(-1) / 2, 1)


def _error(log_weights: Tensor, replicates: int) -> Tensor:
    """The standard error `(N,)` of the logarithm of the mean weight, from the spread of its replicates."""
    each = log_weights.unflatten(0, (replicates, -1)).logsumexp(1)
    shares = replicates * torch.softmax(each, 0)
    return shares.std(0) / math.sqrt(replicates)
