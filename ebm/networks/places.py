"""Networks of codes that are images, in which each place has a code, a latent and movers of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ebm.networks.channels import CategoricalChannel
from ebm.networks.transitions import Transition


@final
class PlaceNet(nn.Module):
    """Convolutions with ReLU between of a flat image: `(*batch, C H W) -> (*batch, channels[-1] H W)`.

    `shape` is C, H, W. `kernels` are odd, one for each of `channels`; the image keeps its size.
    """

    def __init__(self, shape: tuple[int, int, int], channels: Sequence[int], kernels: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != len(kernels) or not all(kernel % 2 for kernel in kernels):
            raise ValueError(f"each of the channels {tuple(channels)} has an odd kernel, not {tuple(kernels)}")
        layers: list[nn.Module] = []
        for (into, out), kernel in zip(pairwise([shape[0], *channels]), kernels, strict=True):
            layers += [nn.Conv2d(into, out, kernel, padding=kernel // 2), nn.ReLU()]
        self.shape = tuple(shape)
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, code: Tensor) -> Tensor:
        image = code.reshape(-1, *self.shape)
        return self.layers(image).reshape(*code.shape[:-1], -1)


@final
class PlaceTransition(Transition):
    """`code + gather(gate(code, action, latent))`: what leaves a place is settled there, then places look around.

    `gate` is one layer of kernel 1 and `gather` are layers of kernel 3: a mover that its own latent sends to a
    neighbour is one unit of the gate, which the place it comes to sees. An action is spread over all places; each
    place has `latents` features of its own, so that movers are independent given the code, and any number of them can
    go any way: one latent for all would need (ways)^(movers) values.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        actions: int = 0,
        latents: int = 0,
        gates: int = 24,
        hidden: Sequence[int] = (16,),
    ) -> None:
        places = shape[1] * shape[2]
        super().__init__(shape[0] * places, actions, latents * places)
        planes = shape[0] + actions + latents
        self.planes, self.places = planes, tuple(shape[1:])
        channels, kernels = [gates, *hidden, shape[0]], [1, *[3] * (len(hidden) + 1)]
        self.change = PlaceNet((planes, *shape[1:]), channels, kernels)

    def after(self, code: Tensor, acting: Tensor) -> Tensor:
        height, width = self.places
        action, latent = acting.split([self.actions, self.latents], -1)
        spread = action.repeat_interleave(height * width, -1)
        return code + self.change(torch.cat([code, spread, latent], -1))


@final
class PlacesChannel(nn.Module):
    """`CategoricalChannel` in each place: logits `(*batch, alternatives H W)` to choices of the same shape."""

    def __init__(self, alternatives: int, temperature: float = 1.0) -> None:
        super().__init__()
        self.alternatives, self.channel = alternatives, CategoricalChannel(temperature)

    def forward(self, code: Tensor) -> Tensor:
        choices = self.channel(code.unflatten(-1, (self.alternatives, -1)).transpose(-1, -2))
        return choices.transpose(-1, -2).flatten(-2)


@final
class CategoricalPlaces(nn.Module):
    """A prior `p(z | code)` of a choice among `alternatives` in each place, independent of other places given the code.

    `network` takes codes `(*batch, features)` to logits `(*batch, alternatives H W)`, the alternatives first, as
    `PlaceNet` does. Uniform numbers of that shape make a draw: `argmax_k logit_k - log(-log u_k)` (Gumbel 1954).
    """

    def __init__(self, network: nn.Module, alternatives: int) -> None:
        super().__init__()
        self.network, self.alternatives = network, alternatives

    def logits(self, code: Tensor) -> Tensor:
        """`(*batch, places, alternatives)`, the last axis to be normalised."""
        return self.by_place(self.network(code))

    def by_place(self, flat: Tensor) -> Tensor:
        """`(*batch, alternatives H W) -> (*batch, places, alternatives)`."""
        return flat.unflatten(-1, (self.alternatives, -1)).transpose(-1, -2)

    def flat(self, latent: Tensor) -> Tensor:
        """`(*batch, places, alternatives) -> (*batch, alternatives H W)`, which transitions take."""
        return latent.transpose(-1, -2).flatten(-2)

    def forward(self, code: Tensor, noise: Tensor) -> Tensor:
        """One-hot choices `(*batch, alternatives H W)`; leading axes broadcast."""
        least = torch.finfo(noise.dtype).tiny
        luck = self.by_place(-(-noise.clamp(least, 1 - 1e-7).log()).log())
        choice = (self.logits(code) + luck).argmax(-1)
        return self.flat(one_hot(choice, self.alternatives).to(code))
