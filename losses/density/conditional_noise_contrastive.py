"""Tell each sample from noisy copies of itself."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.density_loss import DensityLoss, energies_of_each
from ebm.samplers.sampler import check_count


@final
class ConditionalNoiseContrastive(DensityLoss):
    """`mean_im 2 log(1 + exp(F(x_i, y_i) - F(x_i, y_i + sigma e_im)))`, `e` standard normal: CNCE.  Ceylan and Gutmann
    2018, with their Gaussian noise, whose symmetry leaves the energies alone.

    Nothing has to be known of the noise, and no normaliser learned. For small `sigma` it is score matching; at 2 log 2
    = 1.39 nothing is told apart, so raise sigma until the loss is well below. `copies` of each sample, kappa in the
    paper. The paper sets both by the data: 0.5 is half the scale of data of unit variance.
    """

    def __init__(self, sigma: float = 0.5, copies: int = 1) -> None:
        super().__init__()
        check_count("ConditionalNoiseContrastive", 1, copies=copies)
        if not sigma > 0:
            raise ValueError(f"`sigma` of ConditionalNoiseContrastive is positive, not {sigma}")
        self.sigma, self.copies = sigma, copies

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        noisy = hy + self.sigma * torch.randn(self.copies, *hy.shape, dtype=hy.dtype, device=hy.device)
        all_energies = energies_of_each(F, hx, torch.cat([hy[None], noisy]))
        return 2 * softplus(all_energies[0] - all_energies[1:]).mean(0)
