"""Derivatives of the free energy with respect to the data, which a loss can be differentiated through.

Where it is run as it stands, by autograd, which has less around the energy; where it is compiled, and in inference
mode, by torch.func, since a compiled energy has no second derivative.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import grad, vjp, vmap

from ebm.adjoint import Unrolled
from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.density_loss import energies


def slopes(F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
    """`dF/dy`, of the shape of `hy`."""
    if _by_transforms():
        return grad(lambda y: energies(F, hx, y).sum())(hy)
    return _recorded(F, hx, hy)[1]


def slopes_and_curvatures(F: FreeEnergy, hx: Variable, hy: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """`dF/dy` (n, ...), and `v' d2F/dy2 v` (m, n) along m directions v (m, n, ...) for each sample.

    One gradient, and products of its derivative with all directions at once. Inference of a latent cannot be done for
    all at once, so there it is one after the other. Raises ValueError for a latent without third derivatives.
    """
    latent = _has_latent(F, hx, hy)
    if latent:
        _check_third_derivatives(F)
    slope, bends = _transformed(F, hx, hy, directions) if _by_transforms() else _products(F, hx, hy, directions, latent)
    return slope, (directions * bends).flatten(2).sum(2)


def _by_transforms() -> bool:
    return torch.compiler.is_compiling() or torch.is_inference_mode_enabled()


def _transformed(F: FreeEnergy, hx: Variable, hy: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    def total(y: Tensor) -> Tensor:
        return energies(F, hx, y).sum()

    slope, back = vjp(grad(total), hy)[:2]
    (bends,) = vmap(back)(directions)
    return slope, bends


def _recorded(F: FreeEnergy, hx: Variable, hy: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        y = hy if hy.requires_grad else hy.detach().requires_grad_()
        (slope,) = torch.autograd.grad(energies(F, hx, y).sum(), y, create_graph=True)
    return y, slope


def _products(F: FreeEnergy, hx: Variable, hy: Tensor, directions: Tensor, one_by_one: bool) -> tuple[Tensor, Tensor]:
    y, slope = _recorded(F, hx, hy)
    with torch.enable_grad():
        if one_by_one or len(directions) == 1:
            return slope, torch.stack([_product(slope, y, v) for v in directions])
        return slope, _product(slope, y, directions, batched=True)


def _product(slope: Tensor, y: Tensor, v: Tensor, batched: bool = False) -> Tensor:
    """`v' d(slope)/dy`, of zeros where the slope does not depend on y."""
    (bend,) = torch.autograd.grad(slope, y, v, create_graph=True, is_grads_batched=batched, materialize_grads=True)
    return bend


def _has_latent(F: FreeEnergy, hx: Variable, hy: Tensor) -> bool:
    return F.energy.latent(None if hx is None else hx[:1], hy[:1]) is not None


def _check_third_derivatives(F: FreeEnergy) -> None:
    if F.marginal is None and not isinstance(F.adjoint, Unrolled):
        raise ValueError(
            f"to learn from the curvature of min_z E takes its third derivatives, which {type(F.adjoint).__name__} does"
            " not have: use `adjoint=Unrolled()`, or DenoisingScoreMatching with `adjoint=Implicit()`"
        )
