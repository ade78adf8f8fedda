"""What y looks like, given x and a latent that is inferred."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.energy import Energy
from ebm.networks.mlp import MLP


@final
class LatentDecoder(Energy):
    """`E(y, z) = |y - decoder(z)|^2 + strength |z|^2`, with `z` inferred: a manifold of what y may be.

    A latent that can say everything makes the energy low everywhere, which is collapse. Fewer latent features than `y`
    has limit what it can say; `strength` alone does not, since the decoder learns to stretch a short `z` as far as a
    long one reached (for `decoder(z) = a z` the minimum is `strength / (strength + a^2) |y|^2`).
    """

    def __init__(self, decoder: nn.Module, latent_features: int, strength: float = 0.0) -> None:
        super().__init__()
        self.decoder = decoder
        self.latent_features, self.strength = latent_features, strength

    @classmethod
    def small(cls) -> LatentDecoder:
        """One for variables of 8 features, for tests."""
        return cls(MLP([3, 16, 8], activation=nn.Tanh), latent_features=3, strength=0.1)

    def latent(self, hx: Tensor | None, hy: Tensor) -> Tensor:
        # For the shape that their leading axes broadcast to.
        row = hy[..., 0] if hx is None else hx[..., 0] + hy[..., 0]
        return hy.new_zeros(*row.shape, self.latent_features)

    def cost(self, hx: Tensor | None, hy: Tensor, z: Tensor | None = None) -> Tensor:
        if z is None:
            raise ValueError("the energy of a LatentDecoder needs z: call FreeEnergy, which infers it, or pass one")
        reconstruction = (hy - self.decoder(z)).square().sum(-1)
        return reconstruction + self.strength * z.square().sum(-1)

    def residuals(self, hx: Tensor | None, hy: Tensor, z: Tensor) -> Tensor:
        misfit = hy - self.decoder(z)
        return torch.cat([misfit, self.strength**0.5 * z.expand(*misfit.shape[:-1], -1)], -1)
