"""Unadjusted Langevin dynamics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ebm.samplers.sampler import Evaluate, Noise, Point, Sampler, State, check_positive, momenta


@final
@dataclass(frozen=True)
class Langevin(Sampler):
    """`z <- z - step_size dE/dz + sqrt(2 step_size) p`, `p` normal of variance T (Roberts and Tweedie 1996: ULA).

    Nothing corrects the error of a finite step: where the curvature is c it samples at the temperature
    `T / (1 - step_size c / 2)`, and runs away from `step_size c = 2` on.
    """

    step_size: float = 0.01

    def __post_init__(self) -> None:
        check_positive(self, step_size=self.step_size)

    def init(self, point: Point) -> State:
        return State(torch.zeros_like(point.energy))

    def step(self, evaluate: Evaluate, point: Point, state: State, noise: Noise) -> tuple[Point, State]:
        (momentum,) = noise
        downhill = torch.sub(point.z, point.gradient, alpha=self.step_size)
        new = evaluate(downhill.add_(momentum, alpha=math.sqrt(2 * self.step_size)))
        return new, State(new.energy)

    def noise(self, z: Tensor, temperature: Tensor, steps: int, generator: torch.Generator | None) -> Noise:
        return (momenta(z, temperature, steps, generator),)

    def diverged(self, errors: Tensor) -> Tensor:
        return ~errors.isfinite()

    @property
    def advice(self) -> str:
        return (
            "the energy became NaN or infinite: a step is stable while step_size times the largest curvature is below"
            f" 2, so lower `step_size`, now {self.step_size:g}, or take MetropolisLangevin, which refuses such moves;"
            " an energy that has no minimum has nothing to sample"
        )
