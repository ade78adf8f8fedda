"""Each entry of a discrete y should be likely given the others."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.density_loss import DensityLoss, energies_of_each
from ebm.sites import check_binary, flips, replacements


@final
class PseudoLikelihood(DensityLoss):
    """`-mean_i sum_d log p(y_id | the rest of y_i, x_i)`.  Besag 1975, for `p = exp(-F) / Z`, whose Z falls out.

    For binary y, of zeros and ones, `sum_d log(1 + exp(F(y) - F(y with entry d flipped)))`. With `one_hot`, y is
    (batch, D, K), each of D entries one of K values. All neighbours are evaluated in one call, of D or D K rows for
    each sample.
    """

    def __init__(self, one_hot: bool = False) -> None:
        super().__init__()
        self.one_hot = one_hot

    def check(self, hx: Variable, hy: Tensor) -> None:
        super().check(hx, hy)
        check_binary("PseudoLikelihood", hy)
        if self.one_hot and hy.ndim != 3:
            raise ValueError(f"one-hot data is of shape (batch, entries, values), got {tuple(hy.shape)}")

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        if self.one_hot:
            energies = energies_of_each(F, hx, replacements(hy).flatten(0, 1)).unflatten(0, hy.shape[1:])
            own = (energies * hy.permute(1, 2, 0)).sum(1)
            return (own + (-energies).logsumexp(1)).sum(0)
        energies = energies_of_each(F, hx, torch.cat([hy[None], flips(hy)]))
        return softplus(energies[0] - energies[1:]).sum(0)
