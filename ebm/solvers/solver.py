"""What a solver is: one step down, for every sample of a batch at once."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor

from ebm.problem import Point as Point
from ebm.problem import Problem as Problem

State = tuple[Any, ...]  # tensors with the batch as leading axis, and named tuples of such


class Solver(ABC):
    """How to take one step down. A frozen dataclass: the state goes in and comes out.

    `minimize` is the one loop around it: it stops each sample by itself, leaves those that have ended out of the next
    steps, keeps the best iterate and reports failures. Calling the problem costs one evaluation, and puts z back
    inside its constraints; `problem.slope(point)` is the gradient less what they hold up.
    """

    proximal: ClassVar[bool] = False
    """Whether steps go through `problem.domain.prox`, so that penalties with a kink can be minimised."""
    gradient_free: ClassVar[bool] = False
    """Whether it looks at energies only, so that the gradient at its answer is not known."""
    at_once: ClassVar[bool] = False
    """Whether one step is the whole solve; what has not converged after it is out of `steps`, or has stalled."""

    least_squares: ClassVar[bool] = False
    """Whether it needs the residuals of a sum of squares."""

    steps: int
    """The most steps that a sample may take."""
    tolerance: float
    """A sample has converged when its residual is not above this: by default, no component of its slope is."""
    patience: int
    """A sample has stalled after this many steps that lowered neither its energy nor its slope."""

    @abstractmethod
    def init(self, problem: Problem, point: Point) -> State:
        """The solver's memory before the first step."""

    @abstractmethod
    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        """The next point and the memory to take to the step after it; samples must not see each other."""

    def start(self, problem: Problem, z: Tensor) -> Point:
        """The point to start from, at one evaluation."""
        return problem(z)

    def residual(self, problem: Problem, point: Point, state: State) -> Tensor:
        """How far each sample is from having converged, `(N,)`."""
        return problem.slope(point).detach().abs().amax(-1)

    def taken(self, steps: Tensor, state: State) -> Tensor:
        """How many steps each sample has taken, out of `steps`: unless a solver counts its own, those of the loop."""
        return steps

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        """Evaluations that each sample has taken after so many steps, a Hessian-vector product counted as one."""
        return steps + 1


def check_positive(solver: Solver, *names: str) -> None:
    """Raise ValueError unless these settings of a solver are positive and finite."""
    for name in names:
        if not 0 < getattr(solver, name) < math.inf:
            raise ValueError(
                f"the `{name}` of {type(solver).__name__} is positive and finite, not {getattr(solver, name)}"
            )
