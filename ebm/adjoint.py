"""How derivatives come back through a minimisation, chosen by one argument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, final

import torch
from torch import Tensor

Solution = TypeVar("Solution")


class Adjoint(ABC):
    """Runs a solve so that its answer carries the derivatives that this adjoint stands for."""

    @abstractmethod
    def __call__(self, solve: Callable[[Tensor], Solution], start: Tensor) -> Solution:
        """`solve(start)`, recorded for differentiation or not."""


@final
@dataclass(frozen=True)
class Detached(Adjoint):
    """No derivative through `z`. Exact to first order for `min_z E` (envelope theorem; Danskin 1967), and free.

    Second derivatives of the minimum are not: they need the derivative of `z` itself.
    """

    def __call__(self, solve: Callable[[Tensor], Solution], start: Tensor) -> Solution:
        with torch.no_grad():
            return solve(start.detach())


@final
@dataclass(frozen=True)
class Unrolled(Adjoint):
    """Back through every step taken: for losses of `z` itself, in memory that grows with the number of steps."""

    def __call__(self, solve: Callable[[Tensor], Solution], start: Tensor) -> Solution:
        return solve(start)
