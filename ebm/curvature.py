"""Second derivatives of the energies of rows, by products or written out."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.func import grad, vjp

from ebm.problem import Problem


def hessian_product(problem: Problem, z: Tensor) -> Callable[[Tensor], Tensor]:
    """`v -> H v` for the Hessians of the smooth energies at the rows z (N, D).

    The gradient is recorded once and differentiated for each product, which is some twenty times quicker than
    retracing it (forward over reverse); that is left to inference mode, where nothing can be recorded.
    """
    if torch.is_inference_mode_enabled():

        def total(z: Tensor) -> Tensor:
            return problem.smooth(z).sum()

        def retraced(v: Tensor) -> Tensor:
            return cast(Tensor, vjp(grad(total), z)[1](v)[0])  # by symmetry; forward mode would take scripting

        return retraced
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(problem.smooth(leaf).sum(), leaf, create_graph=True)
    return lambda v: product_of(gradient, leaf, v)


def product_of(gradient: Tensor, z: Tensor, v: Tensor) -> Tensor:
    """`H v` from a recorded gradient; zeros where it does not depend on z."""
    if not gradient.requires_grad:
        return torch.zeros_like(v)
    (product,) = torch.autograd.grad(gradient, z, v, retain_graph=True, allow_unused=True)
    return torch.zeros_like(v) if product is None else product


def dense(product: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """The symmetric matrices `(N, D, D)` of a product of rows, from D products."""
    axes = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
    columns = torch.stack([product(axis.expand_as(like)) for axis in axes], -1)
    return (columns + columns.mT) / 2


def largest_curvature(problem: Problem, z: Tensor, iterations: int) -> Tensor:
    """An estimate from below of the largest absolute eigenvalue of each Hessian, `(N,)`, by power iteration.

    One where an energy is flat or not finite, so that a step can be had from it.
    """
    product = hessian_product(problem, z)
    start = torch.linspace(1, 2, z.shape[1], dtype=z.dtype, device=z.device).cos()  # not along any axis
    v = (start / start.norm()).expand_as(z)
    size = torch.ones_like(z[:, :1])
    with torch.no_grad():
        for _ in range(iterations):
            bent = product(v)
            size = torch.linalg.vector_norm(bent, dim=-1, keepdim=True)
            v = torch.where(size > 0, bent / torch.where(size > 0, size, 1), v)
    return torch.where((size > 0) & size.isfinite(), size, 1)[:, 0]
