"""Two variables are encoded, alike or each in its way, and go together when their codes are close."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.distances import Distance, SquaredDistance
from ebm.energy import Energy
from ebm.networks.mlp import MLP


@final
class JointEmbedding(Energy):
    """`E(x, y) = d(projector(encoder(x)), projector(encoder(y)))`: the Siamese network of Bromley et al. 1993.

    Its minimum over the weights is a constant code, so a loss or a regularizer has to prevent that collapse.
    What is kept for other tasks is the encoder's output; the projector is there for the loss alone.
    Where y is another kind of thing than x, such as words for a picture, it has an `encoder_y` of its own, and may have
    a `projector_y`: late fusion. What is kept is then that of x.
    """

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module | None = None,
        distance: Distance | None = None,
        encoder_y: nn.Module | None = None,
        projector_y: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.projector = nn.Identity() if projector is None else projector
        self.distance = distance or SquaredDistance()
        self.encoder_y, self.projector_y = encoder_y, projector_y

    @classmethod
    def small(cls) -> JointEmbedding:
        """One for variables of 8 features, for tests."""
        return cls(MLP([8, 16, 6]), MLP([6, 4]))

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        encoder = self.encoder if self.encoder_y is None else self.encoder_y
        projector = self.projector if self.projector_y is None else self.projector_y
        return self.projector(self.encoder(x)), projector(encoder(y))

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        return self.distance(hx, hy)

    def pairs(self, hx: Tensor, hy: Tensor) -> Tensor:
        return self.distance.pairs(hx, hy)

    def represent(self, x: Tensor) -> Tensor:
        return self.encoder(x).flatten(1)
