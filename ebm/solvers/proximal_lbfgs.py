"""Limited-memory BFGS on the face of a penalty or a constraint, and proximal gradient steps from face to face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.barzilai_borwein import spectral_length
from ebm.solvers.curvature_pairs import Pairs, forget, no_pairs, quasi_newton, remember
from ebm.solvers.line_search import NOISE, choose, finite, first_length, may_hold
from ebm.solvers.solver import Point, Problem, Solver, State, check_positive


class Memory(NamedTuple):
    """What each sample knows of the slope where it stands, of its last energies, and of the curvature."""

    slope: Tensor  # (N, D) at the point, of energy plus penalty
    length: Tensor  # (N,) of the proximal step to try next
    recent: Tensor  # (N, window) energies
    stride: Tensor  # (N,) share of the next quasi-Newton step to take; 0 once it is to be a proximal step instead
    pairs: Pairs


@final
@dataclass(frozen=True)
class ProximalLBFGS(Solver):
    """`z <- z - Q H Q slope` on the face that z lies on, where most of the slope is along it; else a proximal step.

    The face is that of `problem.free`: the coordinates or groups that are not zero, away from the bounds that hold.
    Where `|slope - Q slope| <= share |Q slope|` the step is quasi-Newton, `H` by the compact form of `LBFGS` from the
    last `history` moves, and what would change sign on the way stops at zero. Else it is a proximal step, which lets
    coordinates in, by the shorter length of Barzilai and Borwein 1988; so it is too where the penalty bends more than
    the energy, as that of a group about to vanish does. This is the rule of Chen, Curtis and Robinson 2017 (FaRSA,
    whose steps on the face are truncated Newton steps), with the orthant of Andrew and Gao 2007, for groups the
    half-space of Chen et al. 2020. Where z is free all is one face.

    Steps are kept in check by the largest of the last `window` energies (Grippo, Lampariello and Lucidi 1986), up to
    rounding; a refused one is cut, and one on the face that has come down to a share below `shortest` gives way to a
    proximal step. Each sample is on a face of its own; a step is one evaluation. The settings are those of `LBFGS` and
    `BarzilaiBorwein`, the `share` is ours, and with a `history` of 10 it takes a tenth fewer evaluations where atoms
    are much alike, each of them dearer.
    """

    proximal: ClassVar[bool] = True

    history: int = 5
    window: int = 10
    share: float = 1.0
    steps: int = 1000
    tolerance: float = 1e-4
    patience: int = 100
    decrease: float = 1e-4
    shrink: float = 0.5
    shortest: float = 1e-3

    def __post_init__(self) -> None:
        check_positive(self, "history", "window", "share")

    def init(self, problem: Problem, point: Point) -> State:
        slope = problem.slope(point)
        recent = point.energy[:, None].expand(-1, self.window)
        return Memory(slope, first_length(slope), recent, torch.zeros_like(point.energy), no_pairs(slope, self.history))

    def residual(self, problem: Problem, point: Point, state: State) -> Tensor:
        return Memory(*state).slope.detach().abs().amax(-1)

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        memory = Memory(*state)
        along = problem.free(point, memory.slope)
        on_face = (memory.stride > 0) & self._stays(problem, point, along, memory)
        ahead, near = _ahead(problem, point, along, memory), _near(problem, point, memory.length)
        trial = problem(torch.where(on_face[:, None], ahead, near))
        taken = self._falls(problem, memory, trial, trial.z - point.z, on_face)
        return choose(taken, trial, point), self._after(problem, memory, point, trial, taken, on_face)

    def _stays(self, problem: Problem, point: Point, along: Tensor, memory: Memory) -> Tensor:
        """Where the slope is mostly along the face, and the penalty bends less along it than the energy, `(N,)`."""
        square = torch.linalg.vecdot(along, along)
        # What is across the face is at right angles to what is along it.
        mostly = torch.linalg.vecdot(memory.slope, memory.slope) <= (1 + self.share**2) * square
        if problem.domain is None or not problem.domain.penalised:
            return mostly
        bend = torch.linalg.vecdot(along, problem.domain.curvature(point.z, point.gradient, along))
        return mostly & (memory.length * bend <= square)

    def _falls(self, problem: Problem, memory: Memory, trial: Point, move: Tensor, on_face: Tensor) -> Tensor:
        """Where the move leads down, and to far enough below the largest of the last energies, `(N,)`."""
        promised = torch.where(
            on_face, -torch.linalg.vecdot(memory.slope, move), torch.linalg.vecdot(move, move) / memory.length
        )
        ceiling = memory.recent.amax(-1)
        bound = ceiling + NOISE * problem.resolution * ceiling.abs()
        return (promised >= 0) & (trial.energy <= bound - self.decrease * promised) & finite(trial.gradient)

    def _after(
        self, problem: Problem, memory: Memory, point: Point, trial: Point, taken: Tensor, on_face: Tensor
    ) -> Memory:
        move = trial.z - point.z
        slope = problem.slope(trial)
        pairs = remember(problem, memory.pairs, taken, trial, move, slope - memory.slope)
        change = problem.smooth_slope(trial) - problem.smooth_slope(point)
        length = spectral_length(problem, trial, move, change, memory.length, torch.ones_like(taken))
        refused = torch.where(on_face, 1, self.shrink) * memory.length
        shorter = self.shrink * memory.stride
        lost = on_face & ~taken & (shorter < self.shortest)
        recent = torch.cat([memory.recent[:, 1:], trial.energy[:, None]], 1)
        if may_hold(~taken):
            slope = torch.where(taken[:, None], slope, memory.slope)
            recent = torch.where(taken[:, None], recent, memory.recent)
        return Memory(
            slope=slope,
            length=torch.where(taken, length, refused),
            recent=recent,
            stride=torch.where(taken, pairs.informed, torch.where(on_face, shorter, memory.stride) * ~lost),
            pairs=forget(pairs, lost) if may_hold(lost) else pairs,
        )


def _ahead(problem: Problem, point: Point, along: Tensor, memory: Memory) -> Tensor:
    """The quasi-Newton point of the face."""
    direction = problem.free(point, quasi_newton(along, memory.pairs))
    z = torch.addcmul(point.z, memory.stride[:, None], direction)
    return z if problem.domain is None else problem.domain.stopped(point.z, z)


def _near(problem: Problem, point: Point, length: Tensor) -> Tensor:
    """The proximal point, which may lie on any face."""
    column = length[:, None]
    z = torch.addcmul(point.z, column, problem.smooth_slope(point), value=-1)
    return z if problem.domain is None else problem.domain.prox(z, column)
