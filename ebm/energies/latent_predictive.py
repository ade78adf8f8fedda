"""The code of y is predicted from that of x and from a latent, which tells what x leaves open: JEPA with a latent."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import final

from torch import Tensor, nn

from ebm.energies.conditional_autoencoder import Amortised, ConditionalAutoencoder
from ebm.energies.predictive import StopGradient, Target
from ebm.networks.mlp import MLP


@final
class Frozen(Target):
    """An encoder of its own that nothing moves, such as one that was trained before, or principal components."""

    def __init__(self, branch: nn.Module, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = deepcopy(branch if encoder is None else encoder).requires_grad_(False)

    def forward(self, branch: nn.Module, y: Tensor) -> Tensor:
        """The code of `y` by that encoder, or by the branch as it was drawn if there is none."""
        return self.encoder(y)


@final
class LatentPredictive(Amortised):
    """`E(x, y, z) = |predictor(context(x), z) - target(y)|^2` (LeCun 2022, sections 4.4 and 4.5).

    What `x` does not tell of `y` may be told by z, so that each future that there may be has a low energy of its own;
    without latent features the prediction is one, and best where it is the mean of all futures. Nor does a latent help
    that can tell everything: the energy is then low for any y. How z is limited is said where it is inferred, by an
    argument of `FreeEnergy` or `Learner` each:

    - nothing: z is free. `latent_features` of 0: there is none.
    - `penalty=L2(s)`, `penalty=L1(s)`: a small one, a sparse one.
    - `solver=Enumeration(torch.eye(K))`: one of K; `marginal=Enumerated(beta, torch.eye(K))` at a temperature, which
      reaches the former as beta grows (`FreeEnergy.marginal` may be set between steps).
    - `latent_encoder`, `channel=GaussianChannel()`, and `OfLatent(GaussianInformation())` among the losses: it is
      predicted from both codes with noise. What a channel and an encoder are: see `ConditionalAutoencoder`.

    `context` takes x to `(*batch, features)`; `target` makes the code of y, given the context, which must then take y
    too (`Frozen` has an encoder of its own). `predictor` takes a code of x joined with a latent. Nothing here keeps
    codes from collapsing but a target that no derivative reaches: add regularizers, which read both codes. Of two
    futures a context that is trained may make one, with which the prediction is right at no price.
    """

    def __init__(
        self,
        context: nn.Module,
        predictor: nn.Module,
        latent_features: int,
        target: Callable[[nn.Module], Target] = StopGradient,
        latent_encoder: nn.Module | None = None,
        channel: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.context = context
        self.target = target(context)
        self.prediction = ConditionalAutoencoder(predictor, latent_features, latent_encoder, channel)

    @classmethod
    def small(cls) -> LatentPredictive:
        """One for variables of 8 features, for tests."""
        context, predictor = MLP([8, 16, 6], activation=nn.Tanh), MLP([6 + 3, 16, 6], activation=nn.Tanh)
        return cls(context, predictor, 3, latent_encoder=MLP([6 + 6, 16, 3], activation=nn.Tanh))

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.context(x).flatten(1), self.target(self.context, y).flatten(1)

    def latent(self, hx: Tensor, hy: Tensor) -> Tensor | None:
        return self.prediction.latent(hx, hy)

    def predict(self, hx: Tensor, hy: Tensor) -> Tensor:
        return self.prediction.predict(hx, hy)

    def decode(self, hx: Tensor, z: Tensor | None) -> Tensor:
        """The code of y that is predicted, `(*batch, features)`."""
        return self.prediction.decode(hx, z)

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        return self.prediction.cost(hx, hy, z)

    def residuals(self, hx: Tensor, hy: Tensor, z: Tensor | None) -> Tensor:
        return self.prediction.residuals(hx, hy, z)

    def represent(self, x: Tensor) -> Tensor:
        return self.context(x).flatten(1)

    def after_step(self, progress: float) -> None:
        self.target.after_step(self.context, progress)
