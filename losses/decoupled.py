"""The right answer is not among those that it is told from, which lets small batches learn as fast as large ones."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import Views, both_views, by_chunks, picked, without


@final
class DecoupledContrastive(nn.Module):
    """`mean_i F(h_i, h_i') / T + log sum_k exp(-F(h_i, h_k) / T)`, k all but both views of i.  DCL: Yeh et al. 2022.

    The paper has the sum over the `2 batch` codes `h`, where this has the mean; public code adds the means of both
    views. For energies that take either code on either side, such as a cosine distance `1 - cos`: the constant
    cancels. Temperature 0.1 is the default of that code. For `chunk` see `negatives.by_chunks`.
    """

    def __init__(self, temperature: float = 0.1, chunk: int | None = None) -> None:
        super().__init__()
        self.temperature, self.chunk = temperature, chunk

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        views = both_views(self, F, hx, hy)
        right, wrong = _right_and_wrong(F, views, self.temperature, self.chunk)
        return views.mean(right / self.temperature + wrong)


@final
class WeightedDecoupledContrastive(nn.Module):
    """`DecoupledContrastive`, its `F_i = F(h_i, h_i')` weighted by `2 - exp(-F_i / sigma) / mean_j exp(-F_j / sigma)`.

    DCLW: Yeh et al. 2022: views that are far apart are pulled more, and as in public code the weight is differentiated.
    A pair that is much nearer than the others has a negative weight. The mean is over the batch, for each view by
    itself. Temperature 0.1 and `sigma` 0.5 are the defaults of that code. For `chunk` see `negatives.by_chunks`.
    """

    def __init__(self, temperature: float = 0.1, sigma: float = 0.5, chunk: int | None = None) -> None:
        super().__init__()
        self.temperature, self.sigma, self.chunk = temperature, sigma, chunk

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, ...)` to a scalar. Raises ValueError on a batch of one."""
        views = both_views(self, F, hx, hy)
        right, wrong = _right_and_wrong(F, views, self.temperature, self.chunk)
        return views.mean(self._weights(right, views) * right / self.temperature + wrong)

    def _weights(self, right: Tensor, views: Views) -> Tensor:
        batch = views.batch
        shares = [(-batch.gather(view) / self.sigma).softmax(0) for view in right.chunk(2)]
        return 2 - batch.size * torch.cat([batch.own(share) for share in shares])


def _right_and_wrong(F: FreeEnergy, views: Views, temperature: float, chunk: int | None) -> tuple[Tensor, Tensor]:
    """Of each code the energy with its other view, and the log of the sum of `exp(-F / T)` over all others."""

    def sums(codes: Tensor, itself: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        energies = F.pairs(codes, views.everyone)
        return picked(energies, other), (-without(energies, itself, other) / temperature).logsumexp(1)

    parts = by_chunks(sums, (views.codes, views.itself, views.other), len(views.everyone), chunk)
    right, wrong = (torch.cat(part) for part in zip(*parts, strict=True))
    return right, wrong
