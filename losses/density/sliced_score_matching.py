"""Score matching by the curvature along random directions."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.density_loss import DensityLoss
from ebm.losses.density.derivatives import slopes_and_curvatures
from ebm.samplers.sampler import check_count


@final
class SlicedScoreMatching(DensityLoss):
    """`mean_i |dF/dy|^2 / 2 - mean_m v_im' d2F/dy2 v_im`, at `y_i`: SSM-VR.  Song, Garg, Shi and Ermon 2019.

    The variance-reduced form: the first term is the whole norm, not its part along v. Its expectation over v is
    ScoreMatching. Each v has independent entries of 1 or -1 (Rademacher), for which the estimate is exact where
    features do not interact. One projection is the default of the authors' code. A latent needs `adjoint=Unrolled()`.
    """

    def __init__(self, projections: int = 1) -> None:
        super().__init__()
        check_count("SlicedScoreMatching", 1, projections=projections)
        self.projections = projections

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Raises ValueError for an energy whose latent is inferred without its derivatives."""
        directions = torch.randint(2, (self.projections, *hy.shape), device=hy.device).to(hy.dtype) * 2 - 1
        slopes, curvatures = slopes_and_curvatures(F, hx, hy, directions)
        return slopes.square().flatten(1).sum(1) / 2 - curvatures.mean(0)
