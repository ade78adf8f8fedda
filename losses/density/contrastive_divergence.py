"""Push energies down at the data, and up where a few steps of a sampler lead from there."""

from __future__ import annotations

from typing import final

from torch import Tensor

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.chains import differences, moved
from ebm.losses.density.density_loss import DensityLoss
from ebm.samplers.langevin import Langevin
from ebm.samplers.sampler import Sampler, check_count


@final
class ContrastiveDivergence(DensityLoss):
    """`mean_i F(x_i, y_i) - F(x_i, y'_i)`: CD-k, where `y'_i` is k `steps` of a `sampler` from `y_i`.  Hinton 2002.

    The chains start at the data and are held fixed. Their density is `exp(-F / temperature)`, that of the model at the
    temperature 1, the default; the gradient is then that of the negative log-likelihood as k grows, and short of that
    is zero where the sampler leaves the data as it is. The value itself measures no fit: it may have either sign.
    One step is Hinton's; Langevin steps of 0.01 suit data of unit scale, and are exact for small steps alone.

    `l2` times `F(x_i, y_i)^2 + F(x_i, y'_i)^2` holds energies near zero (Du and Mordatch 2019, section 3.3).
    """

    def __init__(
        self, sampler: Sampler | None = None, steps: int = 1, temperature: float = 1.0, l2: float = 0.0
    ) -> None:
        super().__init__()
        check_count("ContrastiveDivergence", 1, steps=steps)
        self.sampler = sampler or Langevin()
        self.steps, self.temperature, self.l2 = steps, temperature, l2

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Raises RuntimeError where a chain diverges, with what to do about it."""
        negatives = moved(F, hx, hy.detach(), self.sampler, self.steps, self.temperature)
        return differences(F, hx, hy, negatives, self.l2)
