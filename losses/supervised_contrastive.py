"""Which of all the codes of the batch are of the same class as this one?"""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.free_energy import FreeEnergy
from ebm.losses.negatives import both_views, by_rows, own_columns, without
from ebm.losses.supervised import Supervised


@final
class SupervisedContrastive(Supervised):
    """`mean_i mean_p -log( exp(-F(h_i, h_p) / T) / sum_{k != i} exp(-F(h_i, h_k) / T) )`, p the others of i's class.

    `L_out` of Khosla et al. 2020, eq. 2, over the `2 batch` codes `h` of both views; the paper has the sum over i, and
    its code a mean that is multiplied by the temperature over 0.07. Without labels it is `NTXent`. Temperature 0.1 is
    the paper's. For `chunk` see `negatives.by_chunks`.
    """

    def __init__(self, temperature: float = 0.1, chunk: int | None = None) -> None:
        super().__init__()
        self.temperature, self.chunk = temperature, chunk

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes `(batch, ...)` and labels `(batch,)` to a scalar. Raises ValueError on a batch of one."""
        views = both_views(self, F, hx, hy)
        labels = own_columns(views.batch, hx) if labels is None else _checked(self, labels, hx)
        classes = views.batch.gather(labels).repeat(2)

        def surprise(codes: Tensor, itself: Tensor, label: Tensor) -> Tensor:
            energies = F.pairs(codes, views.everyone) / self.temperature
            alike = (label[:, None] == classes).scatter(1, itself[:, None], False)
            pull = energies.where(alike, 0).sum(1) / alike.sum(1)
            return pull + (-without(energies, itself)).logsumexp(1)

        rows = views.codes, views.itself, labels.repeat(2)
        return views.mean(by_rows(surprise, rows, len(views.everyone), self.chunk))


def _checked(loss: nn.Module, labels: Tensor, hx: Tensor) -> Tensor:
    if labels.shape != hx.shape[:1]:
        raise ValueError(
            f"{type(loss).__name__} needs one label for each row of the codes, ({len(hx)},), got {tuple(labels.shape)}"
        )
    return labels
