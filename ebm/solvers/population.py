"""What searches by a population share: the same noise for every sample, candidates, and the best that was seen."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm.layout import Layout
from ebm.solvers.line_search import choose
from ebm.solvers.solver import Point, Problem

_WORD = 0xFFFFFFFF


def start_without_gradient(problem: Problem, z: Tensor) -> Point:
    """The point at the rows `z` (N, D), inside the constraints, with zeros for a gradient that is never taken."""
    z = z if problem.domain is None else problem.domain.project(z)
    return Point(z, problem.energies(z), torch.zeros_like(z))


def normals(seed: int, draws: Tensor, population: int, like: Tensor) -> Tensor:
    """Standard normal noise `(population, 1, D)`, for rows like `(N, D)`: the quantiles of `uniforms`."""
    return math.sqrt(2) * torch.erfinv(2 * uniforms(seed, draws, population, like.shape[1], like) - 1)


def uniforms(seed: int, draws: Tensor, population: int, count: int, like: Tensor) -> Tensor:
    """Uniform noise `(population, 1, count)`, a function of the seed and of how many `draws` (N,) were before it.

    All samples have had as many, so that one draw serves the batch: the answer of a sample depends neither on its
    neighbours nor on which of them have ended. By hashing each place, not by a generator: nothing waits for the device
    to say how many there were, and every device draws the same.
    """
    places = torch.arange(population * count, device=like.device)
    step = _mixed(draws[:1, None] + _mixed(draws.new_tensor(seed & _WORD)))
    words = _mixed(_mixed(places) ^ step)
    # 23 bits and a half are exact in float32, and stay clear of 0 and 1, where the normal quantile is infinite.
    uniform = ((words >> 9).to(like.dtype) + 0.5) * 2**-23
    return uniform.reshape(-1, population, count).transpose(0, 1)


def _mixed(x: Tensor) -> Tensor:
    """A bijection of 32-bit words that flips each bit of its answer half of the time (Wellons 2018: hash prospector).

    Its factors are below 2^31, so that no product overflows 63 bits.
    """
    x = (x + 0x9E3779B9) & _WORD  # without which zero would stay zero
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _WORD
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _WORD
    return x ^ (x >> 15)


def colored(noise: Tensor, layout: Layout, color: float) -> Tensor:
    """White noise `(K, 1, D)` made correlated along time, the first axis of each part of z that has two or more.

    Its power falls as `1/f^color` from the lowest frequency that the length holds, `1/T`, up; the mean has the power of
    that one. Each entry keeps a variance of 1 (Timmer and Koenig 1995, in the time domain: `noise <- C noise` with the
    circulant root C of that spectrum, the same for all candidates).
    """
    parts = [
        (filter_of(event[0], color, noise) @ part.reshape(*part.shape[:-1], event[0], -1)).flatten(-2)
        if len(event) > 1 and color > 0
        else part
        for event, part in zip(layout.events, noise.split(layout.sizes, -1), strict=True)
    ]
    return torch.cat(parts, -1)


def filter_of(steps: int, color: float, like: Tensor) -> Tensor:
    """The symmetric circulant `(steps, steps)` that gives white noise the power `1/f^color` and leaves its variance."""
    times = torch.arange(steps, device=like.device)
    frequency = torch.minimum(times, steps - times).clamp_min(1).to(torch.float64)  # the mean counts as the lowest
    amplitude = frequency ** (-color / 2)
    amplitude = amplitude / amplitude.square().mean().sqrt()
    # Of whole turns only what is left of the last one, so that the cosine is of small angles.
    angles = ((times[:, None] - times)[..., None] * times % steps).to(torch.float64) * (2 * math.pi / steps)
    return (angles.cos() @ amplitude / steps).to(like.dtype)


def evaluate(problem: Problem, mean: Tensor, perturbations: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (N, D) and what lies around it, inside the constraints: `(1 + K, N, D)`, with energies `(1 + K, N)`.

    An energy that is not a number counts as infinite, so that the search turns away from there.
    """
    z = torch.cat([mean[None], mean + perturbations])
    if problem.domain is not None:
        z = problem.domain.project(z.flatten(0, 1)).reshape(z.shape)
    energies = problem.candidates(z)
    return z, torch.where(energies.isnan(), torch.inf, energies)


def elites(
    z: Tensor, energies: Tensor, count: int, kept: Tensor | None = None, theirs: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The best of K candidates (K, N, D) and of those that were kept `(N, D, k)`: `(N, D, count)` and `(N, count)`.

    The best first. They lie along the last axis, so that how their sums round does not depend on how many samples
    there are.
    """
    energies, z = energies.T.contiguous(), z.permute(1, 2, 0).contiguous()
    if kept is not None and theirs is not None:
        energies, z = torch.cat([energies, theirs], 1), torch.cat([z, kept], 2)
    best = energies.sort(dim=1, stable=True).indices[:, :count]  # of equals the first, on any device
    return z.gather(2, best[:, None].expand(-1, z.shape[1], -1)), energies.gather(1, best)


def refit(z: Tensor, energies: Tensor, mean: Tensor, deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (N, D) of elites `(N, D, K)`; the old ones where none has a finite energy."""
    finite = energies.isfinite()[:, None]
    number = finite.sum(-1)
    new = torch.where(finite, z, 0).sum(-1) / number.clamp_min(1)
    variance = torch.where(finite, (z - new[..., None]).square(), 0).sum(-1) / number.clamp_min(1)
    return torch.where(number > 0, new, mean), torch.where(number > 0, variance.sqrt(), deviation)


def lowest(point: Point, z: Tensor, energies: Tensor) -> Point:
    """The best of the point and of K candidates `(K, N, D)`, so that what a search returns is the best it has seen."""
    index = energies.argmin(0)
    rows = torch.arange(len(index), device=index.device)
    found = Point(z[index, rows], energies[index, rows], torch.zeros_like(point.z))
    return choose(found.energy < point.energy, found, point)


def project(problem: Problem, mean: Tensor) -> Tensor:
    """The nearest rows that the constraints allow."""
    return mean if problem.domain is None else problem.domain.project(mean)


def check_elites(elites: int, population: int) -> None:
    """Raise ValueError unless a deviation can be fitted to so many of a population."""
    if not 2 <= elites <= population:
        raise ValueError(
            f"the deviation of the elites needs two of them, out of the population: got {elites} elites of"
            f" {population}; a tenth of the population is usual"
        )
