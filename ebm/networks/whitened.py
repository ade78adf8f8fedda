"""A network whose codes cannot collapse, because they are whitened."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.processes import Batch
from ebm.regularizers.moments import checked
from ebm.regularizers.spectra import whitened


@final
class Whitened(nn.Module):
    """`L^-1 (h - mean)` of the codes `h = network(x)` of the whole batch, `L L' = (1 - epsilon) cov + epsilon I`.

    As a projector of `JointEmbedding`, with `CosineDistance(2)` and `PushDown` alone, it is W-MSE (Ermolov, Siarohin,
    Sangineto, Sebe 2021) without slicing; `epsilon` is as in `ebm.regularizers.WhitenedDistance`. The code of a sample
    depends on those of the others, in evaluation too: it takes batches of more samples than features.
    """

    def __init__(self, network: nn.Module, epsilon: float = 1e-4) -> None:
        super().__init__()
        self.network, self.epsilon = network, epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Inputs of the network to codes `(batch, D)`. Raises ValueError on a batch of one."""
        codes = self.network(x)
        whole = whitened(checked(self, codes), self.epsilon)
        return Batch.of(codes).own(whole).to(codes.dtype)
