"""Where the wrong answers come from that a loss pushes up: the batch, a list, a sampler, or a search for the worst."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from ebm.constraints import Constraint
from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import contrast, matching_batch
from ebm.minimize import minimize
from ebm.processes import Batch
from ebm.sample import sample
from ebm.samplers import Sampler
from ebm.solvers import Solver


class Energies(NamedTuple):
    """The energies that the n samples of this process give to their right answers and to wrong ones."""

    right: Tensor  # (n,)
    wrong: Tensor  # (n, K), infinite where there is no wrong answer
    batch: Batch

    def surprise(self, beta: float) -> Tensor:
        """`-log p`, `(n,)`, of the right answer among all of them, when `p` is proportional to `exp(-beta F)`."""
        return -(-beta * torch.cat([self.right[:, None], self.wrong], 1)).log_softmax(1)[:, 0]


class WrongAnswers(ABC):
    """`y'` for each sample, and what the free energy says of them."""

    @abstractmethod
    def __call__(self, loss: nn.Module, F: FreeEnergy, hx: Variable, hy: Tensor) -> Energies:
        """Energies of the right answers `hy` `(n, ...)` to `hx`, and of wrong ones; the loss is named in errors."""


@final
@dataclass(frozen=True)
class FromBatch(WrongAnswers):
    """`y'` are the other y of the batch, of all processes; gradients reach their codes too."""

    def __call__(self, loss: nn.Module, F: FreeEnergy, hx: Variable, hy: Tensor) -> Energies:
        """Raises ValueError on a batch of one, and where there is no x."""
        if hx is None:
            raise ValueError(
                f"{type(loss).__name__} has no x: every y of the batch is a right answer then, and none a wrong one;"
                " set `negatives` to Sampled or MostOffending"
            )
        energies = contrast(loss, F, hx, hy)
        return Energies(energies.right, energies.wrong, energies.batch)


@final
@dataclass(frozen=True, eq=False)
class Given(WrongAnswers):
    """`y'` are those of `candidates` (K, ...) that are not the right answer: all values of a discrete y, as codes.

    The right answer is the candidate that equals `hy` to the last bit. Where none does, all K count as wrong: to refuse
    that would mean to wait for the device. They are moved to where the codes are on every call, unless they are there.
    """

    candidates: Tensor

    def __post_init__(self) -> None:
        if self.candidates.ndim == 0 or len(self.candidates) < 2:
            shape = tuple(self.candidates.shape)
            raise ValueError(f"candidates are two values of y at least, of shape (K, ...), not a tensor of {shape}")

    def __call__(self, loss: nn.Module, F: FreeEnergy, hx: Variable, hy: Tensor) -> Energies:
        """Raises ValueError where rows do not match, and where candidates do not have the shape of `hy`."""
        batch = _matching(loss, hx, hy)
        candidates = self.candidates.to(hy)
        if candidates.shape[1:] != hy.shape[1:]:
            raise ValueError(
                f"{type(loss).__name__} has codes of shape {tuple(hy.shape)}, so candidates are of shape"
                f" {('K', *hy.shape[1:])}, not {tuple(candidates.shape)}: give what the energy's `encode` makes of y"
            )
        energies = F.pairs(hx, candidates) if hx is not None else F(None, candidates).expand(len(hy), -1)
        return Energies(F(hx, hy), energies.masked_fill(_equal(hy, candidates), torch.inf), batch)


@final
@dataclass(frozen=True)
class Sampled(WrongAnswers):
    """`y' ~ exp(-F(x, y') / temperature)`, `count` chains for each x, of which the last of `steps` steps is taken.

    The sampler is that of `ebm.sample` unless given. Chains start from `noise` times standard normal numbers, added to
    the right answer with `from_data`: contrastive divergence starts there, without noise. LeCun et al. 2006 (section
    2.2.4) name no sampler; all numbers here are ours. Draws are not kept apart from the right answer. With several
    processes each draws for its own samples.
    """

    sampler: Sampler | None = None
    steps: int = 20
    count: int = 1
    temperature: float = 1.0
    noise: float = 1.0
    from_data: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.count < 1 or not 0 <= self.noise < math.inf:
            raise ValueError(f"samples take at least one step and one chain, and noise is not negative: {self}")

    def __call__(self, loss: nn.Module, F: FreeEnergy, hx: Variable, hy: Tensor) -> Energies:
        """Raises ValueError where rows do not match, and what `ebm.sample` raises."""
        batch = _matching(loss, hx, hy)
        return Energies(F(hx, hy), _energies(F, hx, self.answers(F, hx, hy)), batch)

    def answers(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """The answers `(count, n, ...)`, without derivatives."""
        hx, hy = _to_search(hx, hy)
        starts = self.noise * hy.new_empty(self.count, *hy.shape).normal_()
        starts = starts + hy if self.from_data else starts
        with torch.autocast(hy.device.type, enabled=False):
            drawn = sample(
                lambda y, hx: F(hx, y),
                starts.flatten(0, 1),
                self.sampler,
                draws=1,
                warmup=self.steps - 1,
                temperature=self.temperature,
                given=(_repeated(hx, self.count),),
            )
        return drawn.z[0].view_as(starts)


@final
@dataclass(frozen=True)
class MostOffending(WrongAnswers):
    """`y' = argmin F(x, y')` over `|y' - y| >= distance`: a continuous y.  LeCun et al. 2006, definition 2.

    By `ebm.minimize` from `starts` points, opposite in pairs, that are `spread` times standard normal vectors beyond
    the distance; the best is kept. Points nearer than the distance have the energy of the nearest that is not, so that
    a search may cross, and every answer obeys to the last bit. It obeys `within` too, but a search does not follow the
    edge where that and the distance meet; a sample for which no start is allowed has no wrong answer. The paper names
    no distance: it is of the scale of y. Solver, starts and spread are ours.
    """

    distance: float
    solver: Solver | None = None
    within: Constraint | None = None
    starts: int = 8
    spread: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.distance < math.inf or not 0 < self.spread < math.inf or self.starts < 1:
            raise ValueError(f"a distance and a spread are positive and finite, and starts at least 1: {self}")

    def __call__(self, loss: nn.Module, F: FreeEnergy, hx: Variable, hy: Tensor) -> Energies:
        """Raises ValueError where rows do not match, and what `ebm.minimize` raises."""
        batch = _matching(loss, hx, hy)
        answers, found = self.answers(F, hx, hy)
        wrong = _energies(F, hx, answers[None]).masked_fill(~found[:, None], torch.inf)
        return Energies(F(hx, hy), wrong, batch)

    def answers(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> tuple[Tensor, Tensor]:
        """The answers `(n, ...)`, without derivatives, and whether each sample has one, `(n,)`."""
        hx, hy = _to_search(hx, hy)
        starts = self._starts(hy)
        with torch.no_grad(), torch.autocast(hy.device.type, enabled=False):
            ends = minimize(
                lambda y, hx, hy: self._energy(F, hx, y, hy),
                starts.flatten(0, 1),
                self.solver,
                given=(_repeated(hx, self.starts), _repeated(hy, self.starts)),
                within=self.within,
            )
        answers = self._outside(ends.z.view_as(starts), hy)
        energies = ends.energy.view(answers.shape[:2]).nan_to_num(nan=torch.inf)
        energies = energies.masked_fill(~self._lawful(answers, hy), torch.inf)
        best = energies.argmin(0)
        return answers[best, torch.arange(len(hy), device=hy.device)], energies.amin(0).isfinite()

    def _energy(self, F: FreeEnergy, hx: Variable, y: Tensor, hy: Tensor) -> Tensor:
        """Energies `(n,)` of the answers that points stand for, infinite where that is none."""
        answers = self._outside(y, hy)
        return F(hx, answers).masked_fill(~self._lawful(answers, hy), torch.inf)

    def _starts(self, hy: Tensor) -> Tensor:
        """Points `(starts, n, ...)` outside the distance."""
        half = hy.new_empty((self.starts + 1) // 2, *hy.shape).normal_()
        noise = torch.cat([half, -half])[: self.starts]
        return hy + noise * (self.spread + self.distance / _norm(noise, hy))

    def _outside(self, y: Tensor, hy: Tensor) -> Tensor:
        """The nearest points that are not nearer to `hy` than the distance."""
        # A little beyond, by what rounding of the norm and of the sum may take away.
        features = hy[0].numel()
        slack = 8 * torch.finfo(y.dtype).eps * (self.distance * math.sqrt(features) + _norm(hy, hy))
        first = torch.arange(features, device=hy.device).view(hy.shape[1:]) == 0
        norm = _norm(y - hy, hy)
        inside = norm < self.distance + slack
        away = torch.where(norm > 0, y - hy, first.to(y.dtype))  # a search may hit the right answer itself
        longer = (self.distance + 2 * slack) / torch.where(inside & (norm > 0), norm, 1)
        return torch.where(inside, hy + away * longer, y)

    def _lawful(self, answers: Tensor, hy: Tensor) -> Tensor:
        """Which of the answers `(*batch, n, ...)` are outside the distance and within the constraint."""
        batch = answers.shape[: answers.ndim - hy.ndim + 1]
        lawful = _norm(answers - hy, hy).view(batch) >= self.distance
        if self.within is None:
            return lawful
        return lawful & (self.within.project(answers) == answers).view(*batch, -1).all(-1)


def _matching(loss: nn.Module, hx: Variable, hy: Tensor) -> Batch:
    """The whole batch; raises ValueError unless its rows match."""
    return matching_batch(loss, hy if hx is None else hx, hy)


def _equal(hy: Tensor, candidates: Tensor) -> Tensor:
    """Which of the rows equal which candidates, `(n, K)`; by their largest difference, so that no cube is made."""
    rows, columns = (codes.detach().reshape(len(codes), -1) for codes in (hy, candidates))
    wide = torch.promote_types(rows.dtype, torch.float32)
    return torch.cdist(rows.to(wide), columns.to(wide), p=torch.inf) == 0


def _energies(F: FreeEnergy, hx: Variable, answers: Tensor) -> Tensor:
    """Energies `(n, K)` of answers `(K, n, ...)`."""
    k, n = answers.shape[:2]
    return F(_repeated(hx, k), answers.flatten(0, 1)).view(k, n).T


def _repeated(rows: Variable, times: int) -> Variable:
    return None if rows is None else rows.expand(times, *rows.shape).flatten(0, 1)


def _to_search(hx: Variable, hy: Tensor) -> tuple[Variable, Tensor]:
    """Codes without derivatives, in single precision where autocast may have made them half: steps are small."""
    return None if hx is None else _precise(hx.detach()), _precise(hy.detach())


def _precise(codes: Tensor) -> Tensor:
    half = torch.is_autocast_enabled(codes.device.type) and codes.dtype in (torch.float16, torch.bfloat16)
    return codes.float() if half else codes


def _norm(rows: Tensor, hy: Tensor) -> Tensor:
    """Norms over the axes of features, those of `hy` `(n, ...)` but the first, which are kept with a length of one."""
    axes = tuple(range(1 - hy.ndim, 0))
    return torch.linalg.vector_norm(rows, dim=axes, keepdim=True) if axes else rows.abs()
