"""What y looks like, given x and a latent of any size: inferred, or predicted by an encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import torch
from torch import Tensor, nn

from ebm.energies.joined import joined
from ebm.energy import Energy
from ebm.free_energy import FreeEnergy
from ebm.networks.mlp import MLP


class Amortised(Energy, ABC):
    """An energy whose latent an encoder predicts, or may predict."""

    @abstractmethod
    def predict(self, hx: Tensor, hy: Tensor) -> Tensor:
        """What the encoder tells of the latent, `(*batch, features of the encoder)`, before the channel.

        Raises ValueError where there is no encoder.
        """


@final
class ConditionalAutoencoder(Amortised):
    """`E(x, y, z) = |y - decoder(x, z)|^2`: z is to tell what x leaves open of y, and can tell all of it if it may.

    `decoder` takes `(*batch, features of x + latent_features)` to `(*batch, features of y)`; without latent features
    this is a regression. Without an `encoder` z is inferred, from zero. An `encoder` takes `(*batch, features of x and
    of y)` to what `channel` makes a latent of (Sohn, Lee, Yan 2015, with a prior that does not know x): where
    inference starts. A solver of no steps stays there, and with `adjoint=Unrolled()` trains the encoder, so that
    `FreeEnergy(energy, GradientDescent(steps=0), Unrolled())` is the energy of the latent as predicted.
    `OfLatent` is for terms that limit what a predicted latent tells.
    """

    def __init__(
        self,
        decoder: nn.Module,
        latent_features: int,
        encoder: nn.Module | None = None,
        channel: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if latent_features < 0 or (latent_features == 0 and encoder is not None):
            raise ValueError(
                f"a latent has at least one feature where an encoder predicts it, and else at least none, not"
                f" {latent_features}: leave out the encoder of a latent that there is not"
            )
        self.decoder, self.encoder, self.channel = decoder, encoder, channel or nn.Identity()
        self.latent_features = latent_features

    @classmethod
    def small(cls) -> ConditionalAutoencoder:
        """One for variables of 8 features, for tests."""
        decoder, encoder = MLP([8 + 3, 16, 8], activation=nn.Tanh), MLP([8 + 8, 16, 3], activation=nn.Tanh)
        return cls(decoder, 3, encoder)

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), y.flatten(1)

    def predict(self, hx: Tensor, hy: Tensor) -> Tensor:
        if self.encoder is None:
            raise ValueError(
                "no encoder predicts the latent of this energy: give one, or limit an inferred latent by"
                " `penalty=`, `within=` or `marginal=`"
            )
        return self.encoder(joined(hx, hy))

    def latent(self, hx: Tensor, hy: Tensor) -> Tensor | None:
        if self.latent_features == 0:
            return None
        if self.encoder is not None:
            return self.channel(self.predict(hx, hy))
        batch = torch.broadcast_shapes(hx.shape[:-1], hy.shape[:-1])
        return hy.new_zeros(*batch, self.latent_features)

    def decode(self, hx: Tensor, z: Tensor | None) -> Tensor:
        """The y `(*batch, features)` of lowest energy for x and z."""
        return self.decoder(hx if z is None else joined(hx, z))

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        if z is None and self.latent_features:
            raise ValueError("an energy with a latent needs z: call FreeEnergy, which infers it, or pass one")
        return self.residuals(hx, hy, z).square().sum(-1)

    def residuals(self, hx: Tensor, hy: Tensor, z: Tensor | None) -> Tensor:
        return hy - self.decode(hx, z)


@final
class OfLatent(nn.Module):
    """`regularizer(encoder(x, y))`: a term, among the losses of a `Learner`, of what an encoder tells of the latent.

    For the regularizers of latents, such as `GaussianInformation`: those of a `Learner` read the codes of x and y.
    """

    def __init__(self, regularizer: nn.Module) -> None:
        super().__init__()
        self.regularizer = regularizer

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes `(batch, features)` to a scalar. Raises TypeError for another energy."""
        if not isinstance(F.energy, Amortised):
            raise TypeError(
                f"the latent of an energy that predicts it is meant, such as a ConditionalAutoencoder or a"
                f" LatentPredictive, not of {type(F.energy).__name__}"
            )
        return self.regularizer(F.energy.predict(hx, hy).flatten(0, -2))
