"""Energies and gradients of the rows that samplers move, with as little around the energy as there can be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad_and_value

from ebm.layout import Layout, Tree, given_rows, map_rows
from ebm.problem import Point, RowEnergy


class Evaluation:
    """Energies and gradients of rows `(R N, D)`, where gradients are switched on: one call is one evaluation."""

    def __init__(self, energies: Callable[[Tensor], Tensor], ones: Tensor) -> None:
        self.energies, self.ones = energies, ones

    def __call__(self, z: Tensor) -> Point:
        if torch.compiler.is_compiling() or torch.is_inference_mode_enabled():

            def total(z: Tensor) -> tuple[Tensor, Tensor]:
                energies = self.energies(z)
                return energies.sum(), energies

            gradient, (_, energies) = grad_and_value(total, has_aux=True)(z)
            return Point(z, energies, gradient)
        leaf = z.detach().requires_grad_()  # the same without the overhead of torch.func
        energies = self.energies(leaf)
        if not energies.requires_grad:
            raise ValueError(
                "the energy has no derivative with respect to z: it does not use z, or detaches or rounds it on the"
                " way, and samplers follow the gradient"
            )
        (gradient,) = torch.autograd.grad((energies,), (leaf,), (self.ones,))
        return Point(z, energies.detach(), gradient)


def of_rows(fn: Callable[..., Tensor], layout: Layout, given: tuple[Tree, ...], dtype: torch.dtype) -> RowEnergy:
    """The function of rows `(N, D)`, which it sees in their own shape; `dtype` is that of its energies."""
    plain = layout.structure.is_leaf() and len(layout.batch) == len(layout.events[0]) == 1
    if plain and layout.dtype == layout.row_dtype == dtype:
        return lambda z: fn(z, *given)  # a view that changes nothing costs as much as a layer of a small network
    return lambda z: fn(layout.tree(z, layout.batch), *given).reshape(-1).to(layout.row_dtype)


def of_replicas(
    fn: Callable[..., Tensor], layout: Layout, given: tuple[Tree, ...] | None, single: RowEnergy, replicas: int
) -> RowEnergy:
    """The function of the rows `(R N, D)` of R replicas: all at once where `given` is named, else one by one."""
    if replicas == 1:
        return single
    if given is None:
        return lambda z: torch.cat([single(part) for part in z.chunk(replicas)])
    held = map_rows(lambda rows: rows.repeat(replicas, *[1] * (rows.ndim - 1)), given_rows(given, layout.batch))

    def together(z: Tensor) -> Tensor:
        energies = fn(layout.tree(z), *held)
        if energies.shape != z.shape[:1]:
            raise ValueError(
                f"the energies of {len(z)} samples are of shape {tuple(energies.shape)}: replicas are evaluated at once"
                " where `given` is named, so name there all that has a row for each sample, or leave `given` out"
            )
        return energies.to(layout.row_dtype)

    return together
