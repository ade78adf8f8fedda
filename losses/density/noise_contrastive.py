"""Tell the data from noise whose density is known: what can do so knows the density of the data."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Normal
from torch.nn.functional import softplus

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.buffers import sized_by_a_checkpoint
from ebm.losses.density.density_loss import DensityLoss, energies_of_each
from ebm.processes import gather
from ebm.samplers.sampler import check_count


@final
class NoiseContrastive(DensityLoss):
    """`-mean_i ( log s(G(y_i)) + sum_m log(1 - s(G(y'_im))) )`, `G(y) = -F(x, y) - c - log(ratio q(y))`, s the logistic
    function: NCE.  Gutmann and Hyvarinen 2010, and 2012 with `ratio` samples `y'` of noise of density q for each of the
    data, where the first paper has one.

    At its minimum `exp(-F - c)` is the density of the data: `c`, `log_normaliser`, is a parameter of this loss, which
    the optimiser takes to log Z. It is one for all x, so that a conditional energy has to normalise itself. More noise
    than one for each brings the estimate nearer to maximum likelihood.

    Noise should be like the data. By default it is normal, of the mean and the standard deviation of each feature in
    the first batch, which are buffers that a checkpoint holds. A `noise` that is given draws samples of the shape of
    one sample of the data, on its device.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, noise: Distribution | None = None, ratio: int = 1) -> None:
        super().__init__()
        check_count("NoiseContrastive", 1, ratio=ratio)
        self.noise, self.ratio = noise, ratio
        self.log_normaliser = nn.Parameter(torch.zeros(()))
        self.register_buffer("mean", torch.empty(0))
        self.register_buffer("std", torch.empty(0))
        sized_by_a_checkpoint(self, "mean", "std")

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Raises ValueError for noise of another shape, or data in which a feature does not vary."""
        noise = self.noise or self._fitted(hy)
        drawn = noise.sample(torch.Size((self.ratio, len(hy)))).to(hy.dtype)
        if drawn.shape[1:] != hy.shape:
            raise ValueError(
                f"noise is to be of the shape of the data, {tuple(hy.shape[1:])}, but is of {tuple(drawn.shape[2:])}:"
                " give a distribution whose `batch_shape + event_shape` is that"
            )
        everything = torch.cat([hy[None], drawn])
        known = noise.log_prob(everything)  # of each feature, or of each sample
        known = known.flatten(2).sum(2) if known.ndim > 2 else known
        logits = -energies_of_each(F, hx, everything) - self.log_normaliser - known - math.log(self.ratio)
        return softplus(-logits[0]) + softplus(logits[1:]).sum(0)

    def _fitted(self, hy: Tensor) -> Distribution:
        """The normal noise, fitted if this is the first batch."""
        if self.mean.shape == (0,):
            rows = gather(hy.detach())
            self.mean, self.std = rows.mean(0), rows.std(0)
            _check_spread(self.std)
        return Normal(self.mean, self.std, validate_args=False)


def _check_spread(std: Tensor) -> None:
    if not torch.compiler.is_compiling() and not bool((std > 0).all()):
        raise ValueError(
            f"noise fitted to the first batch has no density: {int((~(std > 0)).sum())} of {std.numel()} features do"
            " not vary there. Leave such features out, raise `batch_size`, or give `noise`"
        )
