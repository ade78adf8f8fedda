"""Metropolis-adjusted Langevin dynamics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ebm.samplers.sampler import Evaluate, Noise, Point, Sampler, State, check_positive, kinetic, metropolis


@final
@dataclass(frozen=True)
class MetropolisLangevin(Sampler):
    """A Langevin move that is taken or refused, so that `exp(-E / T)` is exact (Roberts and Tweedie 1996: MALA).

    The move is one leapfrog step of size `sqrt(2 step_size)`, and the ratio of its densities the change of the total
    energy along it (Neal 2011, section 5.5.2). Mixes fastest where some 0.57 of the moves are taken. A move that errs
    by more than `divergence` temperatures is one that no chain would ever take, and counts as a divergence; it may be
    infinite, for an energy that is infinite outside its domain.
    """

    step_size: float = 0.01
    divergence: float = 1000.0

    def __post_init__(self) -> None:
        check_positive(self, step_size=self.step_size, divergence=self.divergence)

    def init(self, point: Point) -> State:
        return State(torch.zeros_like(point.energy))

    def step(self, evaluate: Evaluate, point: Point, state: State, noise: Noise) -> tuple[Point, State]:
        momentum, threshold = noise
        length = math.sqrt(2 * self.step_size)
        half = torch.sub(momentum, point.gradient, alpha=length / 2)
        proposal = evaluate(torch.add(point.z, half, alpha=length))
        end = torch.sub(half, proposal.gradient, alpha=length / 2)
        error = proposal.energy - point.energy + kinetic(end) - kinetic(momentum)
        return metropolis(point, proposal, error, threshold)

    def diverged(self, errors: Tensor) -> Tensor:
        return ~(errors <= self.divergence)

    @property
    def advice(self) -> str:
        return (
            f"a proposal raised the total energy by more than {self.divergence:g} temperatures, or made it NaN: lower"
            f" `step_size`, now {self.step_size:g}, or start nearer to where the energy is low; raise `divergence` if"
            " the energy is meant to be infinite in places"
        )
