"""What the losses that fit a density share: the mean over the batch of one value for each sample of the data."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.processes import mean

_LOW_PRECISION = (torch.float16, torch.bfloat16)


class DensityLoss(nn.Module, ABC):
    """`mean_i l(F, x_i, y_i)`: brings the density `exp(-F(x, y)) / Z(x)` of y given x to that of the data.

    `hy` is the data, `(batch, ...)`, and `hx` what it is conditioned on: codes whose rows match, or None. All is in
    single precision or better, under autocast too: slopes and differences of energies cancel. Noise comes from torch's
    global generator; where every process has the same seed, their noise is the same.
    """

    def forward(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError unless `hx` and `hy` are such, and F one energy each."""
        self.check(hx, hy)
        with torch.autocast(hy.device.type, enabled=False):
            return mean(self.values(F, None if hx is None else in_single(hx), in_single(hy)))

    @abstractmethod
    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """The value `(batch,)` of each sample; codes as `forward` takes them, in single precision or better."""

    def check(self, hx: Variable, hy: Tensor) -> None:
        """Refuse codes that this loss is not for; raises ValueError."""
        name = type(self).__name__
        if hy.ndim < 2 or not hy.is_floating_point():
            raise ValueError(
                f"{name} takes data hy of shape (batch, features, ...) in floating point, got {tuple(hy.shape)} of"
                f" {hy.dtype}: give single features an axis, and call `.float()` on integers"
            )
        if hx is not None and len(hx) != len(hy):
            raise ValueError(f"{name} needs codes whose rows match, got {len(hx)} rows of hx and {len(hy)} of hy")


def in_single(codes: Tensor) -> Tensor:
    """The same, in single precision if it was in half."""
    return codes.float() if codes.dtype in _LOW_PRECISION else codes


def energies(F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
    """Energies `(n,)` of `hy` (n, ...); raises ValueError where F does not return one for each."""
    values = F(hx, hy)
    if values.shape != hy.shape[:1]:
        raise ValueError(
            f"an energy is one number a sample: for hy of shape {tuple(hy.shape)} that is {tuple(hy.shape[:1])}, but it"
            f" was {tuple(values.shape)}; sum over features, not the batch, and squeeze the axis of a network's output"
        )
    return values


def energies_of_each(F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
    """Energies `(m, n)` of m alternatives `hy` (m, n, ...) for each of n samples, in one call of F."""
    condition = None if hx is None else hx.expand(len(hy), *hx.shape).flatten(0, 1)
    return energies(F, condition, hy.flatten(0, 1)).unflatten(0, hy.shape[:2])
