"""A world model: what is seen later, predicted in the space of codes from what is seen now and what is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from ebm.distances import Distance, SquaredDistance
from ebm.energies.conditional_autoencoder import Amortised
from ebm.energies.dynamics import LearnedDynamics
from ebm.energies.predictive import SharedBranch, Target
from ebm.energy import Energy
from ebm.free_energy import FreeEnergy
from ebm.networks.mlp import MLP
from ebm.networks.transitions import ResidualTransition


class Situation(NamedTuple):
    """The x of a world model."""

    observation: Tensor
    """What is seen first, `(*batch, ...)`."""
    actions: Tensor
    """What is done then, step by step, `(*batch, T, actions)`; the last axis is empty where nothing can be done."""


def packed(code: Tensor, actions: Tensor) -> Tensor:
    """A first code `(*batch, D)` and actions `(*batch, T, A)` side by side, `(*batch, D + T A)`."""
    return torch.cat([code, actions.flatten(-2).to(code)], -1)


def unpacked(hx: Tensor, features: int, steps: int) -> tuple[Tensor, Tensor]:
    """The code `(*batch, features)` and the actions `(*batch, steps, A)` of what was packed."""
    return hx[..., :features], hx[..., features:].unflatten(-1, (steps, (hx.shape[-1] - features) // steps))


class Rollouts(Energy):
    """An energy of trajectories: x is a `Situation`, y what is seen after each step, `(*batch, T, ...)`.

    Codes are `hx` (*batch, features + T actions), the first code with the actions beside it, and `hy` (*batch, T,
    features). Regularizers read the codes of all times, each a row.
    """

    dynamics: LearnedDynamics

    def encode(self, x: Situation, y: Tensor) -> tuple[Tensor, Tensor]:
        observation, actions = checked(x, y)
        return packed(self.dynamics.read(observation), actions), self.target_codes(y)

    def target_codes(self, y: Tensor) -> Tensor:
        """What predictions are held against, `(*batch, T, features)`."""
        return self.dynamics.read(y)

    def trajectory(self, hx: Tensor, hy: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of all times `(*batch, T + 1, features)`, and the actions between them `(*batch, T, actions)`."""
        code, actions = unpacked(hx, hy.shape[-1], hy.shape[-2])
        return torch.cat([code[..., None, :], hy], -2), actions

    def rows(self, hx: Tensor, hy: Tensor) -> tuple[Tensor, ...]:
        return (self.trajectory(hx, hy)[0].flatten(0, -2),)

    def represent(self, x: Tensor | Situation) -> Tensor:
        return self.dynamics.read(x.observation if isinstance(x, Situation) else x)


@final
class WorldModel(Rollouts, Amortised):
    """`E(x, y, z) = mean_t d(code_t, target(y_t))`, with `code_t = transition(code_(t-1), action_t, z_t)`.

    A joint-embedding predictive architecture told of actions (LeCun 2022, section 4.4; Sobal et al. 2022).

    Nothing is predicted that the encoder leaves out, which is why codes may collapse: train with regularizers, which
    read the codes of all times, or a `target` that derivatives do not reach (ebm.energies.predictive).

    Where the transition takes latents, `z` (*batch, T, latents) is inferred from zero, or begins at what `inference`
    makes of each code and the one after it, `(*batch, T, 2 features) -> (*batch, T, k)`, after `channel`: with a solver
    of no steps that is the latent (see ConditionalAutoencoder), and `OfLatent` has terms that limit what it tells.
    """

    def __init__(
        self,
        dynamics: LearnedDynamics,
        target: Callable[[nn.Module], Target] = SharedBranch,
        distance: Distance | None = None,
        inference: nn.Module | None = None,
        channel: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if inference is not None and dynamics.transition.latents == 0:
            raise ValueError(
                "`inference` predicts a latent that the transition does not take: make it with latents=..."
            )
        self.dynamics = dynamics
        self.target = target(dynamics.reading)
        self.distance = distance or SquaredDistance()
        self.inference, self.channel = inference, channel or nn.Identity()

    @classmethod
    def small(cls) -> WorldModel:
        """One for observations of 8 features and actions of 3, for tests."""
        transition = ResidualTransition(4, 3, 2, ())  # linear, so that a latent has one minimum
        return cls(LearnedDynamics(MLP([8, 16, 4], activation=nn.Tanh), transition, observation_axes=1))

    def target_codes(self, y: Tensor) -> Tensor:
        return self.target(self.dynamics.reading, y)

    def latent(self, hx: Tensor, hy: Tensor) -> Tensor | None:
        if self.dynamics.transition.latents == 0:
            return None
        if self.inference is not None:
            return self.channel(self.predict(hx, hy))
        batch = torch.broadcast_shapes(hx.shape[:-1], hy.shape[:-2])
        return hy.new_zeros(*batch, hy.shape[-2], self.dynamics.transition.latents)

    def predict(self, hx: Tensor, hy: Tensor) -> Tensor:
        if self.inference is None:
            raise ValueError("no network predicts the latent of this model: give `inference`, or limit an inferred one")
        batch = torch.broadcast_shapes(hx.shape[:-1], hy.shape[:-2])
        codes, _ = self.trajectory(hx.expand(*batch, -1), hy.expand(*batch, *hy.shape[-2:]))
        return self.inference(torch.cat([codes[..., :-1, :], codes[..., 1:, :]], -1))

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        code, actions = unpacked(hx, hy.shape[-1], hy.shape[-2])
        return self.distance(self.dynamics.rollout(code, actions, z), hy).mean(-1)

    def after_step(self, progress: float) -> None:
        self.target.after_step(self.dynamics.reading, progress)


@final
class OfTrajectory(nn.Module):
    """`regularizer(codes, actions)`: a term, among the losses of a `Learner`, of the codes of all times in order.

    For `TemporalSmoothness` and `InverseDynamics`: regularizers of a `Learner` see each time as a row by itself.
    """

    def __init__(self, regularizer: nn.Module) -> None:
        super().__init__()
        self.regularizer = regularizer

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes to a scalar. Raises TypeError for an energy that has no trajectories."""
        if not isinstance(F.energy, Rollouts):
            raise TypeError(f"the trajectories of a world model are meant; {type(F.energy).__name__} has none")
        return self.regularizer(*F.energy.trajectory(hx, hy))


def checked(x: Situation, y: Tensor) -> Situation:
    """The situation x itself. Raises ValueError unless it is a situation of as many samples and steps as y."""
    if not isinstance(x, tuple) or len(x) != 2:
        raise ValueError(
            "the x of a world model is a `Situation(observation, actions)`, such as `TrajectoryPairs` gives, got"
            f" {type(x).__name__}"
        )
    observation, actions = x
    axes = y.ndim - observation.ndim
    if axes != 1 or actions.ndim < 2 or y.shape[: actions.ndim - 1] != actions.shape[:-1]:
        raise ValueError(
            "y holds an observation after each action, (*batch, T, ...), for observations (*batch, ...) and actions"
            f" (*batch, T, actions); got y {tuple(y.shape)}, observation {tuple(observation.shape)}, actions"
            f" {tuple(actions.shape)}"
        )
    return Situation(observation, actions)
