"""Push energies down at the data, and up at chains that go on from where the last batch left them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy
from ebm.losses.density.buffers import sized_by_a_checkpoint
from ebm.losses.density.chains import differences, moved
from ebm.losses.density.density_loss import DensityLoss
from ebm.processes import Batch, agreed
from ebm.samplers.langevin import Langevin
from ebm.samplers.sampler import Sampler, check_count


@final
class PersistentContrastiveDivergence(DensityLoss):
    """`mean_i F(x_i, y_i) - F(x_i, y'_i)`: PCD, `y'_i` from chains that persist.  Tieleman 2008.

    There are `size` chains, at first `noise`. A batch takes any of them at random, one for each sample, starts a share
    `restart` of these anew from `noise`, moves them by `steps` of a `sampler` and, in training, puts each back where
    it came from. `noise` takes a tensor to noise of its shape. The density of the chains is `exp(-F / temperature)`,
    that of the model at the temperature 1; `l2` is as in ContrastiveDivergence.

    The size, the share and 60 steps are those of Du and Mordatch 2019, who add the restarts, from `torch.rand_like`;
    Tieleman has as many chains as samples, and one step. Chains of a conditional density go on under the `x` of
    another sample, so that they need steps enough to forget the last one.

    All chains are a buffer, `chains` (size, ...), sized by the first batch, which a checkpoint holds. Processes share
    them: each moves its own part of those that are drawn.
    """

    chains: Tensor

    def __init__(
        self,
        sampler: Sampler | None = None,
        steps: int = 60,
        size: int = 10_000,
        restart: float = 0.05,
        temperature: float = 1.0,
        l2: float = 0.0,
        noise: Callable[..., Any] = torch.randn_like,  # Any: torch's functions have no annotations to check by
    ) -> None:
        super().__init__()
        check_count("PersistentContrastiveDivergence", 1, steps=steps, size=size)
        if not 0 <= restart <= 1:
            raise ValueError(f"`restart` is the share of chains to start anew, from 0 to 1, not {restart}")
        self.sampler = sampler or Langevin()
        self.steps, self.size, self.restart = steps, size, restart
        self.temperature, self.l2, self.noise = temperature, l2, noise
        self.register_buffer("chains", torch.empty(0))
        sized_by_a_checkpoint(self, "chains")

    def values(self, F: FreeEnergy, hx: Variable, hy: Tensor) -> Tensor:
        """Raises ValueError for a batch that the chains do not fit; RuntimeError where one diverges."""
        batch = Batch.of(hy)
        self._fill(hy, batch)
        slots = agreed(torch.randperm(self.size, device=hy.device)[: batch.size])
        start = self.chains[slots]
        anew = agreed(torch.rand(batch.size, *[1] * (hy.ndim - 1), device=hy.device) < self.restart)
        start = torch.where(anew, agreed(self.noise(start)), start)
        negatives = moved(F, hx, batch.own(start), self.sampler, self.steps, self.temperature)
        if self.training:
            self.chains[slots] = batch.gather(negatives)
        return differences(F, hx, hy, negatives, self.l2)

    def _fill(self, hy: Tensor, batch: Batch) -> None:
        """Make the chains, if this is the first batch."""
        if batch.size > self.size:
            raise ValueError(
                f"a batch of {batch.size} needs as many chains, but `size` is {self.size}: raise it, well above that"
            )
        if self.chains.ndim < 2:
            self.chains = agreed(self.noise(hy.new_empty(self.size, *hy.shape[1:])))
        if self.chains.shape != (self.size, *hy.shape[1:]):
            raise ValueError(
                f"there are {len(self.chains)} chains of shape {tuple(self.chains.shape[1:])}, but `size` is"
                f" {self.size} and the data of shape {tuple(hy.shape[1:])}: keep both as they were, or make a new loss"
            )
