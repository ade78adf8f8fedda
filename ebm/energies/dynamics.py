"""How codes of observations change: what world models learn and plans go through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, final

import torch
from torch import Tensor, nn

from ebm.networks.transitions import Transition


class Dynamics(nn.Module, ABC):
    """Codes `(*batch, features)` of observations, and how they change by what is done and by what nobody sees.

    A latent `z` is what decides between futures that the past leaves open. `noise` and `draw` make one, where there is
    any: numbers that know of no code, so that all plans can be compared under the same luck, and what they mean here.
    """

    sees_states: ClassVar[bool] = False
    """Whether it reads states of a world rather than observations."""

    @abstractmethod
    def read(self, observations: Tensor) -> Tensor:
        """Codes `(*batch, features)` of observations `(*batch, ...)`."""

    @abstractmethod
    def step(self, code: Tensor, action: Tensor, z: Tensor | None = None) -> Tensor:
        """The code after `action` (*batch, actions), given the latent `z` (*batch, latents); leading axes broadcast."""

    def noise(self, codes: Tensor, generator: torch.Generator) -> Tensor | None:
        """Random numbers `(*batch, numbers)` for a step from each code; None where nothing is left open."""
        return None

    def draw(self, code: Tensor, noise: Tensor | None) -> Tensor | None:
        """The latent `(*batch, latents)` that these numbers mean for a code."""
        return noise

    def rollout(self, code: Tensor, actions: Tensor, z: Tensor | None = None) -> Tensor:
        """Codes `(*batch, T, features)` after each of `actions` (*batch, T, actions), with `z` (*batch, T, latents)."""
        codes = []
        for t in range(actions.shape[-2]):
            code = self.step(code, actions[..., t, :], None if z is None else z[..., t, :])
            codes.append(code)
        return torch.stack(codes, -2)

    def imagine(self, code: Tensor, actions: Tensor, noise: Tensor | None) -> Tensor:
        """The same with latents that are drawn on the way by `noise` (*batch, T, numbers)."""
        codes = []
        for t in range(actions.shape[-2]):
            z = self.draw(code, None if noise is None else noise[..., t, :])
            code = self.step(code, actions[..., t, :], z)
            codes.append(code)
        return torch.stack(codes, -2)


@final
class Reading(nn.Module):
    """An encoder over any leading axes, of observations that have `axes` axes of their own."""

    def __init__(self, encoder: nn.Module, axes: int) -> None:
        super().__init__()
        self.encoder, self.axes = encoder, axes

    def forward(self, observations: Tensor) -> Tensor:
        """`(*batch, ...)` to `(*batch, features)`. Raises ValueError where there is no batch axis."""
        if observations.ndim <= self.axes:
            raise ValueError(
                f"observations have at least one batch axis before their own {self.axes}, got"
                f" {tuple(observations.shape)}: index them by [None], or set `observation_axes`"
            )
        leading = observations.shape[: observations.ndim - self.axes]
        codes = self.encoder(observations.reshape(-1, *observations.shape[len(leading) :]))
        return codes.flatten(1).reshape(*leading, -1)


@final
class LearnedDynamics(Dynamics):
    """An encoder of observations, and a transition from code to code.

    `encoder` takes `(batch, ...)` of observations with `observation_axes` axes each to `(batch, features)`, and is
    shared by all steps. `prior` takes a code `(*batch, features)` and uniform numbers `(*batch, latents)` to a latent,
    by default to a standard normal one, whatever the code.
    """

    def __init__(
        self,
        encoder: nn.Module,
        transition: Transition,
        prior: nn.Module | None = None,
        observation_axes: int = 3,
    ) -> None:
        super().__init__()
        self.reading = Reading(encoder, observation_axes)
        self.transition, self.prior = transition, prior

    def read(self, observations: Tensor) -> Tensor:
        return self.reading(observations)

    def step(self, code: Tensor, action: Tensor, z: Tensor | None = None) -> Tensor:
        return self.transition(code, action, z)

    def noise(self, codes: Tensor, generator: torch.Generator) -> Tensor | None:
        if self.transition.latents == 0:
            return None
        shape = (*codes.shape[:-1], self.transition.latents)
        return torch.rand(shape, generator=generator, device=generator.device).to(codes)

    def draw(self, code: Tensor, noise: Tensor | None) -> Tensor | None:
        if noise is None:
            return None
        if self.prior is not None:
            return self.prior(code, noise)
        inner = noise.clamp(1e-6, 1 - 1e-6)  # where the quantile is finite in single precision
        return 2**0.5 * torch.erfinv(2 * inner - 1)
