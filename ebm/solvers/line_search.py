"""What line searches share: when a step is good enough, and how long the first one is."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.problem import Point, Problem


def accepts(problem: Problem, point: Point, trial: Point, decrease: float) -> Tensor:
    """Where a trial lowers the energy by the share `decrease` of what the slope promised (Armijo 1966), `(N,)`.

    Up to the rounding of the energy, and never where the gradient is not finite.
    """
    promised = (point.gradient * (trial.z - point.z)).sum(-1)
    slack = 10 * problem.resolution * point.energy.abs()
    return (trial.energy <= point.energy + decrease * promised + slack) & trial.gradient.isfinite().all(-1)


def first_length(slope: Tensor) -> Tensor:
    """No step down the raw slope is longer than 1, whatever the scale of the energy."""
    return 1 / slope.abs().sum(-1).clamp_min(1)


def choose(mask: Tensor, new: Point, old: Point) -> Point:
    """The new point where the mask (N,) says so, else the old one."""
    column = mask[:, None]
    return Point(
        torch.where(column, new.z, old.z),
        torch.where(mask, new.energy, old.energy),
        torch.where(column, new.gradient, old.gradient),
    )
