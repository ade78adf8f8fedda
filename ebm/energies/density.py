"""A network scores y, or y beside x, and nothing else limits what the score may be."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.energies.joined import joined
from ebm.energy import Energy
from ebm.networks.mlp import MLP


@final
class Density(Energy):
    """`E(x, y) = network([x, y])`: the density `exp(-E) / Z(x)` of y given x, of y alone where x is None or has no
    features.

    `network` takes `(*batch, m + n)` to `(*batch, 1)`. Its energy may be low everywhere, so a loss has to push it up
    where there are no data, or to fix its slope and curvature where there are.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def small(cls) -> Density:
        """One for variables of 8 features, for tests."""
        return cls(MLP([8 + 8, 16, 1], activation=nn.SiLU))

    def cost(self, hx: Tensor | None, hy: Tensor, z: Tensor | None = None) -> Tensor:
        energies = self.network(hy if hx is None else joined(hx, hy))
        if energies.shape[-1] != 1:
            raise ValueError(f"the network of a Density gives one number a sample, got {energies.shape[-1]}")
        return energies.squeeze(-1)
