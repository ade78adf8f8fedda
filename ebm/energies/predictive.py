"""The code of y is predicted from that of x, and no derivative reaches the target: BYOL, SimSiam, JEPA."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from copy import deepcopy
from typing import final

import torch
from torch import Tensor, nn

from ebm.distances import CosineDistance, Distance
from ebm.energy import Energy
from ebm.networks.mlp import MLP


class Target(nn.Module, ABC):
    """What makes the code of `y` that the prediction is held against, given the branch that encodes `x`."""

    @abstractmethod
    def forward(self, branch: nn.Module, y: Tensor) -> Tensor:
        """The code of `y`."""

    def after_step(self, branch: nn.Module, progress: float) -> None:
        """Follow the branch, once the optimiser has moved it."""


@final
class StopGradient(Target):
    """The branch itself, held still.  SimSiam: Chen and He 2021, eq. 4."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()

    def forward(self, branch: nn.Module, y: Tensor) -> Tensor:
        with torch.no_grad():
            return branch(y)


@final
class SharedBranch(Target):
    """The branch itself, and derivatives reach it: SimSiam without its stop-gradient, which collapses.

    For ablations: Chen and He 2021, section 4.1.
    """

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()

    def forward(self, branch: nn.Module, y: Tensor) -> Tensor:
        return branch(y)


@final
class MovingAverage(Target):
    """An exponential moving average of the branch, `w <- tau w + (1 - tau) w_branch`.  BYOL: Grill et al. 2020, eq. 1.

    `tau` goes from `base` to 1 along a cosine, `1 - (1 - base) (cos(pi progress) + 1) / 2`, as in the paper. Each
    keeps its own running statistics of batch normalisation.
    """

    def __init__(self, branch: nn.Module, base: float = 0.996) -> None:
        super().__init__()
        self.branch = deepcopy(branch).requires_grad_(False)
        self.base = base

    def forward(self, branch: nn.Module, y: Tensor) -> Tensor:
        with torch.no_grad():
            return self.branch(y)

    @torch.no_grad()
    def after_step(self, branch: nn.Module, progress: float) -> None:
        share = (1 - self.base) * (math.cos(math.pi * progress) + 1) / 2
        torch._foreach_lerp_(list(self.branch.parameters()), list(branch.parameters()), share)


@final
class Predictive(Energy):
    """`E(x, y) = d(predictor(branch(x)), target(y))`, where a branch is a projector on an encoder.

    What prevents collapse is the architecture: the predictor and the target that no derivative reaches. Neither
    paper proves it, and each alone fails but for a target that moves slowly, which holds a while without a predictor.
    The roles of x and y differ; train it `symmetric` to take both in turn.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        predictor: nn.Module,
        target: Callable[[nn.Module], Target] = StopGradient,
        distance: Distance | None = None,
    ) -> None:
        super().__init__()
        self.branch = nn.Sequential(encoder, projector)
        self.predictor = predictor
        self.target = target(self.branch)
        self.distance = distance or CosineDistance()

    @classmethod
    def small(cls) -> Predictive:
        """One for variables of 8 features, for tests."""
        return cls(MLP([8, 16, 6]), MLP([6, 4]), MLP([4, 8, 4]), MovingAverage)

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.predictor(self.branch(x)), self.target(self.branch, y)

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        return self.distance(hx, hy)

    def pairs(self, hx: Tensor, hy: Tensor) -> Tensor:
        return self.distance.pairs(hx, hy)

    def represent(self, x: Tensor) -> Tensor:
        return self.branch[0](x).flatten(1)

    def after_step(self, progress: float) -> None:
        self.target.after_step(self.branch, progress)
