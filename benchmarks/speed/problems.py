"""The problems that are timed: batches of independent minimisations, drawn from a seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

Formula = Callable[..., Any]  # (library, arrays, z, *given) -> energies; leading axes are those of z, there may be none


@dataclass(frozen=True)
class Problem:
    """`min_z E(z, *given)` for each row of `start`, or `min_z E(z, *given) + penalty |z|_1`.

    The formula is written once for torch and for `jax.numpy`, so that every method minimises the same function.
    """

    name: str
    formula: Formula
    arrays: tuple[Tensor, ...]
    start: Tensor
    given: tuple[Tensor, ...] = ()
    penalty: float = 0.0
    rate: float = 1.0
    """The step of the proximal gradient: one over the largest curvature of a sparse code's energy."""

    def energy(self, z: Tensor, *given: Tensor) -> Tensor:
        """`E`, without the penalty: `(*batch, d)`, given `(*batch, ...)` -> `(*batch,)`."""
        return self.formula(torch, self.arrays, z, *given)

    def to(self, like: torch.dtype | torch.device) -> Problem:
        """The same problem in another floating point type or on another device."""
        arrays = tuple(array.to(like) for array in self.arrays)
        given = tuple(array.to(like) for array in self.given)
        return replace(self, arrays=arrays, start=self.start.to(like), given=given)

    def steepness(self, z: Tensor, gradient: Tensor) -> Tensor:
        """The largest absolute component, `(batch,)`, of `dE/dz`, or with a penalty of the proximal gradient.

        That is `(z - prox(z - rate dE/dz)) / rate` (Beck and Teboulle 2009), which is 0 at a minimum and nowhere else.
        """
        if self.penalty:
            gradient = (z - shrink(z - self.rate * gradient, self.rate * self.penalty)) / self.rate
        return gradient.abs().amax(-1)

    def check(self, z: Tensor) -> Tensor:
        """`steepness` at `z`, by one plain backward pass over the whole batch: what no solver has a word in."""
        z = z.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.energy(z, *self.given).sum(), z)
        return self.steepness(z.detach(), gradient)


def shrink(z: Tensor, threshold: float) -> Tensor:
    """`sign(z) max(|z| - threshold, 0)`, the proximal map of `threshold |z|_1`."""
    return z.sign() * (z.abs() - threshold).clamp_min(0)


def decoder(batch: int) -> Problem:
    """The latent of an observation: `|y - decode(z)|^2 + 0.01 |z|^2`, a tanh network 16 -> 128 -> 64, from 0."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    layer1 = 2 / math.sqrt(16) * normal(16, 128), 0.3 * normal(128)
    layer2 = 2 / math.sqrt(128) * normal(128, 64), 0.1 * normal(64)
    arrays = (*layer1, *layer2)
    y = _decode(torch, arrays, normal(batch, 16)) + 0.1 * normal(batch, 64)
    return Problem("decoder", _decoder_energy, arrays, torch.zeros(batch, 16, dtype=torch.float64), (y,))


def unequal(batch: int) -> Problem:
    """The decoder where each sample has a precision of its own, `10^U(-1, 1)`: curvatures differ a hundredfold."""
    problem = decoder(batch)
    draws = torch.rand(batch, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return replace(problem, name="unequal", given=(*problem.given, 10 ** (2 * draws - 1)))


def rosenbrock(batch: int) -> Problem:
    """`sum_i 100 (z_i+1 - z_i^2)^2 + (1 - z_i)^2` in ten dimensions (Rosenbrock 1960), from U(-2, 2)."""
    draws = torch.rand(batch, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return Problem("rosenbrock", _rosenbrock_energy, (), 4 * draws - 2)


def sparse(batch: int, alike: float = 0.0, scales: float = 1.0) -> Problem:
    """A sparse code, `|y - D z|^2 / 2 + 0.1 |z|_1`: 128 atoms of norm 1 for 64 numbers, eight of them in use.

    `alike` is how much of one direction is mixed into all atoms; norms reach from 1 down to one over `scales`.
    """
    generator = torch.Generator().manual_seed(0)
    atoms = torch.randn(64, 128, generator=generator, dtype=torch.float64)
    atoms = atoms + alike * torch.ones(64, 1, dtype=torch.float64)
    atoms = atoms / atoms.norm(dim=0) * torch.logspace(0, -math.log10(scales), 128, dtype=torch.float64)
    support = torch.rand(batch, 128, generator=generator).argsort(-1)[:, :8]
    code = torch.zeros(batch, 128, dtype=torch.float64)
    code.scatter_(1, support, torch.randn(batch, 8, generator=generator, dtype=torch.float64))
    y = code @ atoms.T + 0.05 * torch.randn(batch, 64, generator=generator, dtype=torch.float64)
    rate = 1 / float(torch.linalg.matrix_norm(atoms, 2)) ** 2
    return Problem("sparse", _sparse_energy, (atoms,), torch.zeros_like(code), (y,), penalty=0.1, rate=rate)


def _decode(library: Any, arrays: tuple[Any, ...], z: Any) -> Any:
    weight1, bias1, weight2, bias2 = arrays
    return library.tanh(z @ weight1 + bias1) @ weight2 + bias2


def _decoder_energy(library: Any, arrays: tuple[Any, ...], z: Any, y: Any, precision: Any = 1.0) -> Any:
    return precision * ((y - _decode(library, arrays, z)) ** 2).sum(-1) + 0.01 * (z**2).sum(-1)


def _rosenbrock_energy(library: Any, arrays: tuple[Any, ...], z: Any) -> Any:
    return (100 * (z[..., 1:] - z[..., :-1] ** 2) ** 2 + (1 - z[..., :-1]) ** 2).sum(-1)


def _sparse_energy(library: Any, arrays: tuple[Any, ...], z: Any, y: Any) -> Any:
    (atoms,) = arrays
    return 0.5 * ((y - z @ atoms.T) ** 2).sum(-1)
