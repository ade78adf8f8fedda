"""What searches by a population share: the same noise for every sample, candidates, and the best that was seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm.solvers.line_search import choose
from ebm.solvers.solver import Point, Problem

_WORD = 0xFFFFFFFF


def start_without_gradient(problem: Problem, z: Tensor) -> Point:
    """The point at the rows `z` (N, D), inside the constraints, with zeros for a gradient that is never taken."""
    z = z if problem.domain is None else problem.domain.project(z)
    return Point(z, problem.energies(z), torch.zeros_like(z))


def normals(seed: int, draws: Tensor, population: int, like: Tensor) -> Tensor:
    """Standard normal noise `(population, 1, D)`, a function of the seed and of how many `draws` (N,) were before it.

    All samples have had as many, so that one draw serves the batch: the answer of a sample depends neither on its
    neighbours nor on which of them have ended. By hashing each place, not by a generator: nothing waits for the device
    to say how many there were, and every device draws the same.
    """
    places = torch.arange(population * like.shape[1], device=like.device)
    step = _mixed(draws[:1, None] + _mixed(draws.new_tensor(seed & _WORD)))
    words = _mixed(_mixed(places) ^ step)
    # 23 bits and a half are exact in float32, and stay clear of 0 and 1, where the quantile is infinite.
    uniform = ((words >> 9).to(like.dtype) + 0.5) * 2**-23
    return (math.sqrt(2) * torch.erfinv(2 * uniform - 1)).reshape(-1, population, like.shape[1]).transpose(0, 1)


def _mixed(x: Tensor) -> Tensor:
    """A bijection of 32-bit words that flips each bit of its answer half of the time (Wellons 2018: hash prospector).

    Its factors are below 2^31, so that no product overflows 63 bits.
    """
    x = (x + 0x9E3779B9) & _WORD  # without which zero would stay zero
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _WORD
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _WORD
    return x ^ (x >> 15)


def evaluate(problem: Problem, mean: Tensor, perturbations: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (N, D) and what lies around it, inside the constraints: `(1 + K, N, D)`, with energies `(1 + K, N)`.

    An energy that is not a number counts as infinite, so that the search turns away from there.
    """
    z = torch.cat([mean[None], mean + perturbations])
    if problem.domain is not None:
        z = problem.domain.project(z.flatten(0, 1)).reshape(z.shape)
    energies = problem.candidates(z)
    return z, torch.where(energies.isnan(), torch.inf, energies)


def lowest(point: Point, z: Tensor, energies: Tensor) -> Point:
    """The best of the point and of K candidates `(K, N, D)`, so that what a search returns is the best it has seen."""
    index = energies.argmin(0)
    rows = torch.arange(len(index), device=index.device)
    found = Point(z[index, rows], energies[index, rows], torch.zeros_like(point.z))
    return choose(found.energy < point.energy, found, point)


def project(problem: Problem, mean: Tensor) -> Tensor:
    """The nearest rows that the constraints allow."""
    return mean if problem.domain is None else problem.domain.project(mean)
