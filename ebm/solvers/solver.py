"""What a solver is: one step down, for every sample of a batch at once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor


class Point(NamedTuple):
    """Where a batch of solves stands: `z` (N, D), its energies (N,) and their gradients (N, D)."""

    z: Tensor
    energy: Tensor
    gradient: Tensor


Evaluate = Callable[[Tensor], Point]  # (N, D) -> Point; what one call of it costs is one evaluation
State = tuple[Tensor, ...]  # each with the batch as its leading axis


class Solver(ABC):
    """How to take one step down. A frozen dataclass: the state goes in and comes out.

    `minimize` is the one loop around it: it stops each sample by itself, keeps the best iterate and reports
    failures. A step evaluates the energy once, so that steps and evaluations are the same number for every solver.
    """

    steps: int
    """The most steps that a sample may take."""
    tolerance: float
    """A sample has converged when no component of its gradient is larger than this."""
    patience: int
    """A sample has stalled after this many steps that lowered neither its energy nor its gradient."""

    @abstractmethod
    def init(self, point: Point) -> State:
        """The solver's memory before the first step."""

    @abstractmethod
    def step(self, evaluate: Evaluate, point: Point, state: State) -> tuple[Point, State]:
        """The next point and the memory to take to the step after it; samples must not see each other."""
