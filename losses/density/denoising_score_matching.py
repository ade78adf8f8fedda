"""The slope of the energy should lead from a noisy sample back to the clean one."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.density_loss import DensityLoss
from ebm.losses.density.derivatives import slopes


@final
class DenoisingScoreMatching(DensityLoss):
    """`mean_i |dF/dy(y_i + sigma e_i) - e_i / sigma|^2 / 2`, `e` standard normal.  Vincent 2011.

    It fits the density of the data with noise of standard deviation `sigma` added, by first derivatives alone; as
    sigma falls that is the data's own, but the variance of the gradient grows as `1 / sigma^2`. The paper names no
    sigma: 0.1 is a tenth of the scale of data of unit variance. A latent needs `adjoint=Implicit()`.
    """

    def __init__(self, sigma: float = 0.1) -> None:
        super().__init__()
        if not sigma > 0:
            raise ValueError(f"`sigma` of DenoisingScoreMatching is positive, not {sigma}")
        self.sigma = sigma

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        noise = torch.randn_like(hy)
        misfit = slopes(F, hx, hy + self.sigma * noise) - noise / self.sigma
        return misfit.square().flatten(1).sum(1) / 2
