"""y is made of what an encoder keeps of x, through a channel that may limit how much that is."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.distances import Distance, SquaredDistance
from ebm.energy import Energy
from ebm.networks.mlp import MLP


@final
class Autoencoder(Energy):
    """`E(x, y) = d(decoder(channel(encoder(x))), y)`: of one image with itself, or of one view with another.

    A latent predicted by an encoder, not inferred. Its minimum over the weights is low for every y as soon as the
    code can tell all of it: a channel (`GaussianChannel`, `CategoricalChannel`), few features, or a regularizer of
    latents on `hx` limit that. The code of y is y itself, flattened.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        channel: nn.Module | None = None,
        distance: Distance | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.channel = channel or nn.Identity()
        self.distance = distance or SquaredDistance()

    @classmethod
    def small(cls) -> Autoencoder:
        """One for variables of 8 features, for tests."""
        return cls(MLP([8, 16, 4]), MLP([4, 16, 8]))

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.encoder(x), y.flatten(1)

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        return self.distance(self.decode(hx), hy)

    def pairs(self, hx: Tensor, hy: Tensor) -> Tensor:
        return self.distance.pairs(self.decode(hx), hy)

    def decode(self, hx: Tensor) -> Tensor:
        """What a code is taken for, `(*batch, features of y)`."""
        made = self.decoder(self.channel(hx))
        return made if made.ndim == hx.ndim else made.flatten(1)

    def represent(self, x: Tensor) -> Tensor:
        # Without the noise of a channel, which is there for the decoder alone.
        code = self.encoder(x)
        return _quiet(self.channel, code).flatten(1)


def _quiet(channel: nn.Module, code: Tensor) -> Tensor:
    training = channel.training
    channel.eval()
    try:
        return channel(code)
    finally:
        channel.train(training)
