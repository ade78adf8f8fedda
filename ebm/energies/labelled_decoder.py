"""What an image looks like, given its label and a latent: one energy over all three."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.energies.joined import joined
from ebm.energy import Energy
from ebm.networks.mlp import MLP


@final
class LabelledDecoder(Energy):
    """`E(x, y, z) = |x - decoder(y, z)|^2 / (2 deviation^2) + |z|^2 / 2` of an image x, its label y and a latent z.

    Any of the three may be told and the others inferred: it is smooth in all of them. Labels are one-hot, or points of
    the simplex between. Up to a constant it is `-log p(x, z | y)` of the decoder of Kingma, Mohamed, Rezende and
    Welling 2014 (model M2) with noise of one deviation; where labels are as frequent as each other, `-log p(x, y, z)`.

    `decoder` takes `(*batch, labels + latents)` to images `(*batch, pixels)`. `encoder` takes `(*batch, pixels +
    labels)` to latents: where inference starts, no part of the energy, so a loss that infers z to the minimum does not
    train it. A loss that only lowers the energy of data lets z say everything; noise on z while training, which makes
    decoders of nearby latents alike, prevents that.
    """

    def __init__(self, decoder: nn.Module, encoder: nn.Module, deviation: float = 0.2) -> None:
        super().__init__()
        if not deviation > 0:
            raise ValueError(f"the deviation of the pixels is positive, not {deviation}: take what noise they have")
        self.decoder, self.encoder = decoder, encoder
        self.deviation = deviation

    @classmethod
    def small(cls) -> LabelledDecoder:
        """One for variables of 8 features, for tests."""
        decoder, encoder = MLP([8 + 3, 16, 8], activation=nn.Tanh), MLP([8 + 8, 16, 3], activation=nn.Tanh)
        return cls(decoder, encoder, deviation=0.5)

    def latent(self, hx: Tensor, hy: Tensor) -> Tensor:
        return self.encoder(joined(hx, hy))

    def decode(self, hy: Tensor, z: Tensor) -> Tensor:
        """The images `(*batch, pixels)` of lowest energy for labels and latents."""
        return self.decoder(joined(hy, z))

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        if z is None:
            raise ValueError("the energy of a LabelledDecoder needs z: call FreeEnergy, which infers it, or pass one")
        return self.residuals(hx, hy, z).square().sum(-1)

    def residuals(self, hx: Tensor, hy: Tensor, z: Tensor) -> Tensor:
        """`((x - decoder(y, z)) / deviation, z) / sqrt(2)`, of shape `(*batch, pixels + latents)`."""
        return joined((hx - self.decode(hy, z)) / self.deviation, z) / 2**0.5
