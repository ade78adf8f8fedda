"""What an energy over the plane is worth as a density: there it can be normalised, by summing over a grid."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ebm.meters.landscape import Scores, share_below
from ebm.meters.mmd import kernel, squared_mmd, within
from ebm.sample import sample
from ebm.samplers.metropolis_langevin import MetropolisLangevin

SIDE = 256  # points of the grid along each axis
REACH = 2.0  # how far the grid reaches from the middle of the data, in half-widths of the data
CHAINS, STEPS = 2000, 500


class Landscape(NamedTuple):
    """Energies over a box around the data, in double precision."""

    x: Tensor  # (SIDE,)
    y: Tensor  # (SIDE,)
    energies: Tensor  # (SIDE, SIDE), those of one x in a row

    @property
    def probabilities(self) -> Tensor:
        """`exp(-E) / sum exp(-E)`, `(SIDE, SIDE)`."""
        return (-self.energies).flatten().softmax(0).view_as(self.energies)

    @property
    def log_normaliser(self) -> Tensor:
        """`log Z`, the logarithm of the integral of `exp(-E)` over the box."""
        cell = (self.x[1] - self.x[0]) * (self.y[1] - self.y[0])
        return (-self.energies).flatten().logsumexp(0) + cell.log()


@torch.no_grad()
def landscape(F: Scores, hx: Tensor, hy: Tensor) -> Landscape:
    """The energies of a grid around points `hy` (N, 2), where `hx` (N, 0) says nothing.

    Raises ValueError for other codes.
    """
    _check(hx, hy)
    low, high = hy.double().amin(0), hy.double().amax(0)
    reach = REACH * (high - low) / 2
    steps = torch.linspace(-1, 1, SIDE, dtype=torch.double, device=hy.device)[:, None]
    x, y = ((low + high) / 2 + steps * reach).unbind(1)
    points = torch.cartesian_prod(x, y).to(hy.dtype)
    energies = F(hx[:1].expand(len(points), -1), points)
    return Landscape(x, y, energies.double().view(SIDE, SIDE))


def density(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """How far `exp(-E) / Z` is from the held-out points of the plane, by Z summed over a grid around them.

    `mmd` is the squared MMD between density and points, without bias, as `squared_mmd` would give it for infinitely
    many draws of the density. `nll` is minus the mean log-density of the points in nats. Beside them the mean energy of
    the points, that of the grid, and how often a point has less than a place of the grid (AUROC, ties half). What the
    density has outside the grid, none of them sees.
    """
    over = landscape(F, hx, hy)
    energies = F(hx, hy).detach().double()
    along_x, along_y = (kernel(axis[:, None], axis[:, None]) for axis in (over.x, over.y))
    to_x, to_y = (kernel(hy[:, i, None].double(), axis[:, None]) for i, axis in enumerate((over.x, over.y)))
    p = over.probabilities
    own, across = (p * (along_x @ p @ along_y)).sum(), ((to_x @ p) * to_y).sum(1).mean()
    return {
        "mmd": float(own + within(hy.double()) - 2 * across),
        "nll": float(energies.mean() + over.log_normaliser),
        "energy_points": float(energies.mean()),
        "energy_grid": float(over.energies.mean()),
        "auroc_grid": share_below(energies, over.energies.flatten()),
    }


def chains(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """`mmd_chains`: the squared MMD of 2,000 held-out points from where `walk` leads as many normal starts.

    It errs by what is lost of the density by sampling too, which `density` does not.
    """
    return {"mmd_chains": squared_mmd(walk(F, hx, hy, CHAINS), hy[:CHAINS])}


def walk(F: Scores, hx: Tensor, hy: Tensor, count: int) -> Tensor:
    """Where 500 steps of MetropolisLangevin lead standard normal starts, `(count, 2)`; the same at each call."""
    _check(hx, hy)
    generator = torch.Generator(hy.device).manual_seed(0)
    start = torch.randn(count, 2, generator=generator, dtype=hy.dtype, device=hy.device)
    # Of an energy that has collapsed the slopes may be any: its moves are refused, which is no reason to stop.
    sampler, given = MetropolisLangevin(0.01, divergence=math.inf), (hx[:1].expand(count, -1),)
    walked = sample(lambda y, x: F(x, y), start, sampler, draws=1, warmup=STEPS - 1, given=given, generator=generator)
    return walked.z[0]


def _check(hx: Tensor, hy: Tensor) -> None:
    if hy.ndim != 2 or hy.shape[1] != 2 or hx.numel():
        raise ValueError(
            f"this meter is for densities of points (N, 2) given nothing (N, 0), such as `data: Points` makes, got"
            f" {tuple(hy.shape)} given {tuple(hx.shape)}"
        )
