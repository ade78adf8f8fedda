"""A few atoms, out of many, add up to what is seen."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.energy import Energy


@final
class SparseCoding(Energy):
    """`E(y, z) = |y - atoms z|^2 / 2`, with a penalty that makes the code `z` sparse (Olshausen and Field 1996).

    `FreeEnergy(SparseCoding(64, 128), ProximalGradient(), penalty=L1(0.1))` is `min_z |y - atoms z|^2 / 2 + 0.1 |z|_1`,
    the lasso, whose derivative in `atoms` (features, latent_features) is `-(y - atoms z) z'` (envelope theorem).
    Long atoms would make short codes, which cost nothing: `after_step` puts every atom back into the unit ball
    (Mairal, Bach, Ponce and Sapiro 2010, eq. 3). Without a penalty and with as many atoms as features the energy
    collapses: every y is reached. `x` is not used.
    """

    def __init__(self, features: int, latent_features: int) -> None:
        super().__init__()
        self.atoms = nn.Parameter(nn.functional.normalize(torch.randn(features, latent_features), dim=0))

    @classmethod
    def small(cls) -> SparseCoding:
        """One for variables of 8 features, for tests."""
        return cls(8, 5)

    def latent(self, hx: Tensor | None, hy: Tensor) -> Tensor:
        row = hy[..., 0] if hx is None else hx[..., 0] + hy[..., 0]  # as wide as their leading axes broadcast
        return hy.new_zeros(*row.shape, self.atoms.shape[1])

    def cost(self, hx: Tensor | None, hy: Tensor, z: Tensor | None = None) -> Tensor:
        if z is None:
            raise ValueError("the energy of SparseCoding needs z: call FreeEnergy, which infers it, or pass one")
        return (hy - nn.functional.linear(z, self.atoms)).square().sum(-1) / 2

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Shorten the atoms that are longer than 1 to that; what rounding alone makes longer stays as it is."""
        length = torch.linalg.vector_norm(self.atoms, dim=0)
        longer = length > 1 + 8 * torch.finfo(length.dtype).eps
        self.atoms.copy_(torch.where(longer, self.atoms / length, self.atoms))
