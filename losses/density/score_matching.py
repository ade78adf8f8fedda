"""Match the slope of the energy to that of the data's log-density, which a partial integration leaves no trace of."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.density_loss import DensityLoss
from ebm.losses.density.derivatives import slopes_and_curvatures


@final
class ScoreMatching(DensityLoss):
    """`mean_i |dF/dy|^2 / 2 - tr d2F/dy2`, at `y_i`.  Hyvarinen 2005, with the score `-dF/dy`.

    The trace is exact and whole: one product with the curvature for each feature, all at once. For many features
    SlicedScoreMatching estimates it. The energy has to be twice differentiable: of ReLU networks the trace is zero.
    A latent needs `adjoint=Unrolled()`.
    """

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Raises ValueError for an energy whose latent is inferred without its derivatives."""
        axes = torch.eye(hy[0].numel(), dtype=hy.dtype, device=hy.device).view(-1, 1, *hy.shape[1:])
        slopes, curvatures = slopes_and_curvatures(F, hx, hy, axes.expand(-1, *hy.shape))
        return slopes.square().flatten(1).sum(1) / 2 - curvatures.sum(0)
