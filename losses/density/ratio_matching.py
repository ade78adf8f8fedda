"""Ratios of probabilities between binary data and its neighbours should be those of the data's own distribution."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.density_loss import DensityLoss, energies_of_each
from ebm.sites import check_binary, flips


@final
class RatioMatching(DensityLoss):
    """`mean_i sum_d g(u_id)^2`, `g(u) = 1 / (1 + u)` of `u_id = p(y_i) / p(y_i with entry d flipped)`.  Hyvarinen 2007.

    For `p = exp(-F) / Z` that is `s(F(y) - F(y with d flipped))^2` with s the logistic function: Z falls out. y is of
    zeros and ones. All D neighbours are evaluated in one call, of D rows for each sample.
    """

    def check(self, hx: Variable, hy: Tensor) -> None:
        super().check(hx, hy)
        check_binary("RatioMatching", hy)

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        energies = energies_of_each(F, hx, torch.cat([hy[None], flips(hy)]))
        return (energies[0] - energies[1:]).sigmoid().square().sum(0)
