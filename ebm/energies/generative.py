"""World models that make what is seen, pixel by pixel: what joint embeddings are to be held against.

They take the same `x`, `y` and dynamics as `ebm.energies.WorldModel`, so that an arm of a comparison is one line.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from ebm.distances import Distance, SquaredDistance
from ebm.energies.dynamics import LearnedDynamics
from ebm.energies.world_model import Rollouts, unpacked
from ebm.networks.mlp import MLP
from ebm.networks.transitions import ResidualTransition


@final
class NextObservation(Rollouts):
    """`E(x, y) = mean_t d(decoder(code_t), y_t)`, `code_t = transition(code_(t-1), action_t)`: prediction in pixels.

    As Oh et al. 2015, and every video model since, without a latent: of what it cannot know it predicts the mean. It
    cannot collapse, and spends its code on what weighs most in `d`. `decoder` takes codes `(batch, features)` to
    observations, flat or not. Later observations are never encoded: `hy` is y, flattened, `(*batch, T, pixels)`, what
    regularizers of rows read is the first code, and codes in order (`OfTrajectory`) are those that it imagines.
    """

    def __init__(self, dynamics: LearnedDynamics, decoder: nn.Module, distance: Distance | None = None) -> None:
        super().__init__()
        self.dynamics, self.decoder = _decided(dynamics), decoder
        self.distance = distance or SquaredDistance()

    @classmethod
    def small(cls) -> NextObservation:
        """One for observations of 8 features and actions of 3, for tests."""
        return cls(_small(), MLP([4, 16, 8], activation=nn.Tanh))

    def target_codes(self, y: Tensor) -> Tensor:
        return _pixels(self.dynamics, y)

    def trajectory(self, hx: Tensor, hy: Tensor) -> tuple[Tensor, Tensor]:
        code, actions = unpacked(hx, self.dynamics.transition.features, hy.shape[-2])
        return torch.cat([code[..., None, :], self.dynamics.rollout(code, actions)], -2), actions

    def rows(self, hx: Tensor, hy: Tensor) -> tuple[Tensor, ...]:
        return (hx[..., : self.dynamics.transition.features].flatten(0, -2),)

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        imagined = self.trajectory(hx, hy)[0][..., 1:, :]
        return self.distance(_decoded(self.decoder, imagined), hy).mean(-1)


@final
class AutoencodingDynamics(Rollouts):
    """`E(x, y) = mean_t d(decoder(s_t), y_t) + weight mean_t |code_t - sg(s_t)|^2 / D`, `s_t = encoder(y_t)`.

    An autoencoder, in whose codes what comes next is predicted: `code_t = transition(code_(t-1), action_t)` from the
    code of x. World Models (Ha and Schmidhuber 2018), trained at once, as in Dreamer's first line (Hafner et al. 2019),
    without their noise; `sg` lets no derivative through, so that the encoder does not shrink its codes to have them
    predicted, and the weight is ours. `hy` is `(*batch, T, D + pixels)`: codes, and y, flattened.
    """

    def __init__(
        self,
        dynamics: LearnedDynamics,
        decoder: nn.Module,
        weight: float = 0.1,
        distance: Distance | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= weight < float("inf"):
            raise ValueError(f"the weight of what is predicted is finite and not negative, got {weight}")
        self.dynamics, self.decoder, self.weight = _decided(dynamics), decoder, weight
        self.distance = distance or SquaredDistance()

    @classmethod
    def small(cls) -> AutoencodingDynamics:
        """One for observations of 8 features and actions of 3, for tests."""
        return cls(_small(), MLP([4, 16, 8], activation=nn.Tanh))

    def target_codes(self, y: Tensor) -> Tensor:
        return torch.cat([self.dynamics.read(y), _pixels(self.dynamics, y)], -1)

    def trajectory(self, hx: Tensor, hy: Tensor) -> tuple[Tensor, Tensor]:
        features = self.dynamics.transition.features
        code, actions = unpacked(hx, features, hy.shape[-2])
        return torch.cat([code[..., None, :], hy[..., :features]], -2), actions

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        features = self.dynamics.transition.features
        code, actions = unpacked(hx, features, hy.shape[-2])
        codes, seen = hy[..., :features], hy[..., features:]
        made = self.distance(_decoded(self.decoder, codes), seen)
        missed = (self.dynamics.rollout(code, actions) - codes.detach()).square().mean(-1)
        return (made + self.weight * missed).mean(-1)


def _decided(dynamics: LearnedDynamics) -> LearnedDynamics:
    if dynamics.transition.latents:
        raise ValueError(
            "these models make one future: their transition takes no latents, not"
            f" {dynamics.transition.latents}; `WorldModel` infers them"
        )
    return dynamics


def _small() -> LearnedDynamics:
    transition = ResidualTransition(4, 3, hidden=(16,), activation=nn.Tanh)
    return LearnedDynamics(MLP([8, 16, 4], activation=nn.Tanh), transition, observation_axes=1)


def _pixels(dynamics: LearnedDynamics, observations: Tensor) -> Tensor:
    """Observations `(*batch, ...)`, flattened, `(*batch, pixels)`."""
    return observations.flatten(observations.ndim - dynamics.reading.axes)


def _decoded(decoder: nn.Module, codes: Tensor) -> Tensor:
    """What codes `(*batch, features)` are taken for, `(*batch, pixels)`."""
    return decoder(codes.reshape(-1, codes.shape[-1])).flatten(1).reshape(*codes.shape[:-1], -1)
