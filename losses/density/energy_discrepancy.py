"""Energies of the data should be below those of points from which noise would lead to the same place."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.density_loss import DensityLoss, energies_of_each
from ebm.samplers.sampler import check_count


@final
class EnergyDiscrepancy(DensityLoss):
    """`mean_i log( w / M + sum_m exp(F(x_i, y_i) - F(x_i, y'_im)) / M )`, `y'_im = y_i + sqrt(t) (e_i + e'_im)`, all e
    standard normal.  Schroder et al. 2023.

    No chains and no slopes. As t falls it is score matching, as it grows maximum likelihood. `w` bounds the variance of
    the logarithm, and 0 leaves it out. `contrasts` is M. The defaults are those of the authors' code for densities in
    two dimensions, which leaves out the constant `-log M`.
    """

    def __init__(self, t: float = 1.0, contrasts: int = 4, w: float = 1.0) -> None:
        super().__init__()
        check_count("EnergyDiscrepancy", 1, contrasts=contrasts)
        if not t > 0 or not w >= 0:
            raise ValueError(f"EnergyDiscrepancy takes noise t > 0 and a stabiliser w >= 0, not t={t} and w={w}")
        self.t, self.contrasts, self.w = t, contrasts, w

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        shared, own = torch.randn_like(hy), torch.randn(self.contrasts, *hy.shape, dtype=hy.dtype, device=hy.device)
        perturbed = hy + math.sqrt(self.t) * (shared + own)
        all_energies = energies_of_each(F, hx, torch.cat([hy[None], perturbed]))
        gaps = all_energies[0] - all_energies[1:]
        stabiliser = gaps.new_full((1, len(hy)), math.log(self.w) if self.w else -math.inf)
        return torch.cat([stabiliser, gaps]).logsumexp(0) - math.log(self.contrasts)
