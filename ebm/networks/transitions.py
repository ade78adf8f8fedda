"""What comes after a code, given an action and a latent: the predictors of world models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from ebm.networks.mlp import MLP


class Transition(nn.Module, ABC):
    """One step: a code `(*batch, features)` and what acts on it, to the code after it.

    `actions` and `latents` are how many features of each it is given; 0 is none.
    """

    def __init__(self, features: int, actions: int, latents: int) -> None:
        super().__init__()
        if features < 1 or actions < 0 or latents < 0:
            raise ValueError(
                "a transition has at least one feature, and no negative number of actions or latents, not"
                f" features={features}, actions={actions}, latents={latents}"
            )
        self.features, self.actions, self.latents = features, actions, latents

    def forward(self, code: Tensor, action: Tensor | None = None, latent: Tensor | None = None) -> Tensor:
        """`(*batch, features), (*batch, actions), (*batch, latents) -> (*batch, features)`; leading axes broadcast.

        Raises ValueError where one of them has other features than this was made for.
        """
        acting = [
            self._checked("actions", self.actions, action),
            self._checked("latents", self.latents, latent),
        ]
        given = [part for part in acting if part is not None]
        self._checked("features", self.features, code)
        batch = torch.broadcast_shapes(code.shape[:-1], *(part.shape[:-1] for part in given))
        inputs = [part.expand(*batch, -1) for part in given]
        return self.after(code.expand(*batch, -1), torch.cat(inputs, -1) if inputs else code.new_zeros(*batch, 0))

    @abstractmethod
    def after(self, code: Tensor, acting: Tensor) -> Tensor:
        """`(*batch, features), (*batch, actions + latents) -> (*batch, features)`."""

    def _checked(self, name: str, count: int, value: Tensor | None) -> Tensor | None:
        found = 0 if value is None else value.shape[-1]
        if found != count:
            raise ValueError(
                f"this transition was made for {count} {name}, got {found}: make it with {name}={found}, or give it"
                f" (*batch, {count})"
            )
        return value if count else None


@final
class ResidualTransition(Transition):
    """`code + MLP(code, action, latent)`: what changes is all that has to be learned."""

    def __init__(
        self,
        features: int,
        actions: int = 0,
        latents: int = 0,
        hidden: Sequence[int] = (128, 128),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(features, actions, latents)
        self.change = MLP([features + actions + latents, *hidden, features], activation=activation)

    def after(self, code: Tensor, acting: Tensor) -> Tensor:
        return code + self.change(torch.cat([code, acting], -1))


@final
class RecurrentTransition(Transition):
    """A gated recurrent unit whose state is the code and whose input is what acts on it (Cho et al. 2014)."""

    def __init__(self, features: int, actions: int = 0, latents: int = 0) -> None:
        super().__init__(features, actions, latents)
        self.cell = nn.GRUCell(max(1, actions + latents), features)

    def after(self, code: Tensor, acting: Tensor) -> Tensor:
        acting = acting if acting.shape[-1] else code.new_zeros(*code.shape[:-1], 1)
        return self.cell(acting.reshape(-1, acting.shape[-1]), code.reshape(-1, self.features)).reshape(code.shape)


@final
class ConvTransition(Transition):
    """`code + convolutions(code, action, latent)` of a code that is an image, flattened.

    `shape` is its channels, height and width. An action is spread over all places. A latent has `latents` features in
    each place, flattened as the code is, where it is `local`, and is spread like an action else.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        actions: int = 0,
        latents: int = 0,
        hidden: Sequence[int] = (32, 32),
        local: bool = False,
    ) -> None:
        self.shape, places = tuple(shape), shape[1] * shape[2]
        super().__init__(shape[0] * places, actions, latents * places if local else latents)
        self.local, self.planes = local, actions + latents
        widths = [shape[0] + self.planes, *hidden, shape[0]]
        layers: list[nn.Module] = []
        for into, out in pairwise(widths):
            layers += [nn.Conv2d(into, out, 3, padding=1), nn.ReLU()]
        self.change = nn.Sequential(*layers[:-1])

    def after(self, code: Tensor, acting: Tensor) -> Tensor:
        image = code.reshape(-1, *self.shape)
        height, width = self.shape[1:]
        acting = acting.reshape(len(image), -1)
        action, latent = acting.split([self.actions, self.latents], -1)
        planes = [action] if self.local else [action, latent]
        spread = [part[..., None, None].expand(-1, -1, height, width) for part in planes]
        local = [latent.reshape(len(image), -1, height, width)] if self.local else []
        return code + self.change(torch.cat([image, *spread, *local], 1)).reshape(code.shape)
