"""What a latent tells, and what is left for x to tell. One that knows everything makes an energy low everywhere."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ebm.curvature import dense, hessian_product
from ebm.energy import Energy, Variable
from ebm.free_energy import FreeEnergy
from ebm.marginals.enumerated import Enumerated
from ebm.marginals.variational import Variational
from ebm.meters.landscape import ROWS, Scores, infers, others
from ebm.minimize import pose
from ebm.solvers.enumeration import Enumeration

NOISE = 0.01  # variance of the noise that information is counted against, as a share of that of a feature of y
ENTRIES = 2**24  # of Hessians held at once
TINY = torch.finfo(torch.float64).tiny


@torch.no_grad()
def usage(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """What share of the energy is there already when something is put in the place of x or z: 1 where nothing is lost.

    `without_x` and `other_x`: the mean of `F(x, y)` over that of `F(x', y)`, x' the mean code or the code of another
    sample, with the latent inferred anew. `without_z` and `other_z`: the mean of `E(x, y, z)` over that of
    `E(x, y, z')`, z the inferred latent and z' the mean one or that of another sample; 1 if there is no latent.

    A latent that knows everything makes `without_x` 1 and `other_z` near 0; one that is not used (posterior collapse)
    makes the last two 1. From 0 to 1, over at most 1,024 samples; where removing lowers the energy it is 1. Energies
    are counted from zero, or from the lowest one met where that is below, so that only those which are at least zero,
    as distances are, compare between models. Means over all samples: a few with a high energy decide.
    """
    hx, hy = hx[:ROWS], hy[:ROWS]
    other = others(len(hx)).to(hx.device)
    known = F(hx, hy)
    left = {
        "without_x": (known, F(hx.mean(0, keepdim=True).expand_as(hx), hy)),
        "other_x": (known, F(hx[other], hy)),
    }
    z = inferred(F, hx, hy)
    if z is not None and isinstance(F, FreeEnergy):
        mean = tree_map(lambda part: part.mean(0, keepdim=True).expand_as(part), z)
        told = F.energy.cost(hx, hy, z)
        left["without_z"] = (told, F.energy.cost(hx, hy, mean))
        left["other_z"] = (told, F.energy.cost(hx, hy, _rows(z, other)))
    return {"without_z": 1.0, "other_z": 1.0} | {name: _share(*energies) for name, energies in left.items()}


def latent_nats(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """`latent_nats`: `latent_information` at its default temperature, of at most 1,024 samples; 0 without a latent."""
    return {"latent_nats": latent_information(F, hx[:ROWS], hy[:ROWS])}


@torch.no_grad()
def latent_information(F: Scores, hx: Tensor, hy: Tensor, temperature: float | None = None) -> float:
    """`mean_i log det(I + C^(1/2) H_i C^(1/2) / T) / 2` nats: C the covariance of the inferred latents over samples,
    H_i the Hessian of E in z at that of sample i, T the temperature.

    It is the information `I(z; y | x)` of `p(y | x, z) ~ exp(-E / T)` if z is normal with covariance C and E quadratic
    in z: exactly, for `E = |y - f(x) - W z|^2` and noise of variance `T / 2` in each feature of y, the capacity of a
    Gaussian channel (Telatar 1999, eq. 6). Else a linearisation, averaged over samples; above the truth where z depends
    on x, whose share of C it counts too. Any linear change of variables of z leaves it the same. From 0 up.

    The default temperature counts noise of a tenth of the deviation of each feature of y: `0.01 / features of y` times
    the mean of E with x and z of another sample, which is twice the variance of y for squared errors. So it does not
    depend on the unit of E either. A penalty of F is not counted as telling something; what is written into E is.

    A latent that takes few values, at most half as many as there are samples, tells the entropy of how often it takes
    each: exact for one that is a function of x and y. Blind to curvature away from the inferred latent, and to
    negative curvature, which counts as none. Raises ValueError unless the temperature is positive and finite.
    """
    if temperature is not None and not 0 < temperature < math.inf:
        raise ValueError(f"a temperature is positive and finite, not {temperature}")
    z = inferred(F, hx, hy)
    if z is None or not isinstance(F, FreeEnergy):
        return 0.0
    problem, rows = pose(lambda z, hx, hy: F.energy.cost(hx, hy, z), z, (hx, hy), bind=True)
    _, counts = rows.unique(dim=0, return_counts=True)
    if 2 * len(counts) <= len(rows) or len(counts) == 1:
        return _entropy(counts)
    some = torch.arange(min(len(rows), max(1, ENTRIES // rows.shape[1] ** 2)), device=rows.device)
    problem, seen = pose(lambda z, hx, hy: F.energy.cost(hx, hy, z), _rows(z, some), (hx[some], hy[some]), bind=True)
    hessians = dense(hessian_product(problem, seen), seen).detach().double().nan_to_num()
    root = _root(rows.double().T.cov(correction=0).reshape(rows.shape[1], -1))
    scale = _temperature(F, hx, hy, z) if temperature is None else temperature
    gains = torch.linalg.eigvalsh(root @ hessians @ root).clamp_min(0) / max(scale, TINY)
    return float(torch.log1p(gains).sum(1).mean() / 2)


@torch.no_grad()
def inferred(F: Scores, hx: Tensor, hy: Tensor) -> Variable:
    """The latent that F infers for codes, its mean where F keeps it uncertain; None where there is none."""
    if not (isinstance(F, FreeEnergy) and infers(F, hx, hy)):
        return None
    same = FreeEnergy(
        *(_OfCodes(F.energy), F.solver, F.adjoint),
        within=F.within,
        penalty=F.penalty,
        restarts=F.restarts,
        marginal=F.marginal,
    )
    search = same.marginalise(hx, hy).search or _best(F).infer(hx, hy)
    found: Any = search.z[0] if isinstance(F.marginal, Variational) and math.isfinite(F.marginal.beta) else search.z
    return tree_map(torch.detach, found)


def _best(F: FreeEnergy) -> FreeEnergy:
    """The minimum over z, for a marginal that looks for none: over its candidates where it has a tensor of them."""
    marginal = F.marginal
    if isinstance(marginal, Enumerated) and isinstance(marginal.candidates, Tensor):
        return FreeEnergy(_OfCodes(F.energy), Enumeration(marginal.candidates), penalty=F.penalty)
    return FreeEnergy(_OfCodes(F.energy), F.solver, penalty=F.penalty, restarts=F.restarts)


@final
class _OfCodes(Energy):
    """Another energy, of variables that are its codes already."""

    def __init__(self, energy: Energy) -> None:
        super().__init__()
        self.energy = energy

    def cost(self, hx: Variable, hy: Variable, z: Variable = None) -> Tensor:
        return self.energy.cost(hx, hy, z)

    def latent(self, hx: Variable, hy: Variable) -> Variable:
        return self.energy.latent(hx, hy)

    def residuals(self, hx: Variable, hy: Variable, z: Variable) -> Variable:
        return self.energy.residuals(hx, hy, z)


def _temperature(F: FreeEnergy, hx: Tensor, hy: Tensor, z: Variable) -> float:
    """Twice the variance of noise of a tenth of the deviation of y, in the unit of the energy."""
    other = others(len(hx)).to(hx.device)
    energies = F.energy.cost(hx[other], hy, _rows(z, other)).double()
    return NOISE * float(energies.mean() - energies.amin().clamp_max(0)) / hy[0].numel()


def _entropy(counts: Tensor) -> float:
    """In nats, of how often each value is taken."""
    return float(torch.special.entr(counts.double() / counts.sum()).sum())


def _root(covariance: Tensor) -> Tensor:
    values, axes = torch.linalg.eigh(covariance)
    return (axes * values.clamp_min(0).sqrt()) @ axes.mT


def _rows(z: Variable, rows: Tensor) -> Variable:
    return tree_map(lambda part: part[rows], z)


def _share(kept: Tensor, lost: Tensor) -> float:
    """The mean of the first energies over that of the second, both counted from zero or what is below it; at most 1."""
    lowest = torch.minimum(kept.amin(), lost.amin()).clamp_max(0).double()
    low, high = float(kept.double().mean() - lowest), float(lost.double().mean() - lowest)
    return low / high if 0 <= low < high else 1.0
