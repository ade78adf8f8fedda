"""What line searches share: when a step is good enough, and how long the first one is."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.problem import Point, Problem

NOISE = 100
"""Roundings of an energy that a sum of many terms may be off by: changes below that are judged by gradients."""

LARGE = 2**15
"""Numbers from which on it is quicker to copy some rows than to choose for each number."""


def accepts(problem: Problem, point: Point, trial: Point, decrease: float) -> Tensor:
    """Where a trial lowers the energy by the share `decrease` of what the slope promised (Armijo 1966), `(N,)`.

    Between energies that rounding makes equal, where the mean of both slopes does, as it is more precise by then: the
    approximate Wolfe condition (Hager and Zhang 2005, eq. 23). Never where the gradient is not finite.
    """
    move = trial.z - point.z
    before, after = (point.gradient * move).sum(-1), (trial.gradient * move).sum(-1)
    rise = trial.energy - point.energy
    rounding = problem.resolution * point.energy.abs()
    level = (rise <= NOISE * rounding) & (after + before <= 2 * decrease * before)
    return ((rise <= decrease * before + rounding) | level) & finite(trial.gradient)


def shorter(point: Point, trial: Point, most: float) -> Tensor:
    """What share of a refused step to try next, `(N,)`: to where the slope along it is zero by the secant rule.

    Between a tenth and `most` of it (Nocedal and Wright 2006, section 3.5).
    """
    move = trial.z - point.z
    before, after = (point.gradient * move).sum(-1), (trial.gradient * move).sum(-1)
    overshot = (after > 0) & after.isfinite()
    share = before / torch.where(overshot, before - after, 1)
    return torch.where(overshot, share.clamp(0.1, most), most)


def first_length(slope: Tensor) -> Tensor:
    """No step down the raw slope is longer than 1, whatever the scale of the energy."""
    return 1 / slope.abs().sum(-1).clamp_min(1)


def choose(mask: Tensor, new: Point, old: Point) -> Point:
    """The new point where the mask (N,) says so, else the old one."""
    if not may_hold(~mask):
        return new
    if new.z.numel() >= LARGE and not (
        mask.device.type != "cpu" or torch.compiler.is_compiling() or torch.is_grad_enabled()
    ):
        return _replace(new, old, (~mask).nonzero()[:, 0])
    column = mask[:, None]
    return Point(
        torch.where(column, new.z, old.z),
        torch.where(mask, new.energy, old.energy),
        torch.where(column, new.gradient, old.gradient),
    )


def _replace(new: Point, old: Point, rows: Tensor) -> Point:
    """The new point with some rows of the old one."""
    return Point(*(after.index_copy(0, rows, before[rows]) for after, before in zip(new, old, strict=True)))


def may_hold(mask: Tensor) -> bool:
    """Whether a mask holds anywhere; on an accelerator, which would have to be waited for, it is assumed to."""
    return mask.device.type != "cpu" or torch.compiler.is_compiling() or bool(mask.any())


def finite(values: Tensor) -> Tensor:
    """Which rows hold no NaN or infinity, `(N,)`: by their sums, several times quicker than entry by entry."""
    total = values.sum(-1)
    return total - total == 0  # infinity less itself is NaN
