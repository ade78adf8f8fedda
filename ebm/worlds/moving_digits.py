"""Handwritten digits that move about a canvas and bounce at its edges."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, final

import torch
from torch import Tensor

from ebm.data.digits import Digits
from ebm.data.source import Source, Split
from ebm.worlds.bouncing import bounced, headings
from ebm.worlds.world import World


@final
@dataclass(frozen=True)
class MovingDigits(World):
    """Digits at constant speed on a square canvas: Moving MNIST (Srivastava et al. 2015, section 4.1).

    The pictures are the `split` part of `source`, square and of one channel: by default the digits of 8 x 8 that
    scikit-learn ships; `ebm.data.Images("FOLDER", channels=1)` reads MNIST from parquet files. Each is drawn `digit`
    pixels wide, between pixels where it is there, and where two meet, their sum is cut at 1.
    With `random` a digit leaves an edge in any direction away from it, as in Denton and Fergus 2018 (section 4.1).
    `observe` shows the last frame and this. What may be asked: `position` `(*batch, 2 digits)` of the upper left
    corners in pixels, down and right, and `label` `(*batch, digits)`.
    """

    actions: ClassVar[int] = 0

    digits: int = 2
    random: bool = False
    source: Source = field(default_factory=Digits)
    split: Split = "train"
    canvas: int = 32
    digit: int = 14
    speed: float = 2.0
    episode: int = 50

    def __post_init__(self) -> None:
        for name in ("digits", "digit", "episode"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.canvas <= self.digit:
            raise ValueError(f"a canvas of {self.canvas} leaves digits of {self.digit} no room to move: make it larger")
        if not 0 <= self.speed < float("inf"):
            raise ValueError(f"speed must be finite and not negative, got {self.speed}")

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        shape, room = (count, self.digits), float(self.canvas - self.digit)
        uniform = [torch.rand(shape, generator=generator, device=generator.device) for _ in range(3)]
        now, velocity = room * torch.stack(uniform[:2], -1), self.speed * headings(uniform[2])
        which = torch.randint(len(self._pictures()), shape, generator=generator, device=generator.device)
        last = bounced(now - velocity, 0.0, room)[0]
        return torch.cat([last.flatten(1), now.flatten(1), velocity.flatten(1), which.to(now.dtype)], -1)

    def noise(self, states: Tensor, generator: torch.Generator) -> Tensor | None:
        """The direction that each digit takes if it meets an edge, in turns."""
        if not self.random:
            return None
        return states.new_empty(*states.shape[:-1], self.digits).uniform_(generator=generator)

    def step(self, states: Tensor, actions: Tensor, noise: Tensor | None = None) -> Tensor:
        _, last, velocity, which = self._parts(states)
        now, sign = bounced(last + velocity, 0.0, float(self.canvas - self.digit))
        velocity = sign * velocity
        if self.random:
            velocity = self._scattered(velocity, sign, noise)
        parts = [last.flatten(-2), now.flatten(-2), velocity.flatten(-2), which]
        batch = torch.broadcast_shapes(*(part.shape[:-1] for part in parts), actions.shape[:-1])
        return torch.cat([part.expand(*batch, part.shape[-1]) for part in parts], -1)

    def observe(self, states: Tensor) -> Tensor:
        last, now, _, which = self._parts(states)
        pictures = self._pictures().to(states)[which.long()]
        return torch.stack([self._frame(place, pictures) for place in (last, now)], -3)

    def truth(self, states: Tensor) -> dict[str, Tensor]:
        _, now, _, which = self._parts(states)
        labels = _bank(self.source, self.split)[1].to(states)
        return {"position": now.flatten(-2), "label": labels[which.long()]}

    def _parts(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        n = self.digits
        if states.shape[-1] != 7 * n:
            raise ValueError(f"a state of {n} moving digits has {7 * n} features, got {tuple(states.shape)}")
        last, now, velocity, which = states.split([2 * n, 2 * n, 2 * n, n], -1)
        return last.unflatten(-1, (n, 2)), now.unflatten(-1, (n, 2)), velocity.unflatten(-1, (n, 2)), which

    def _scattered(self, velocity: Tensor, sign: Tensor, noise: Tensor | None) -> Tensor:
        """Another direction, away from the edges that were met, for what met one."""
        if noise is None:
            raise ValueError("these digits bounce at random: give step the noise that `noise` draws")
        any_way = self.speed * headings(noise)
        away = torch.where(sign < 0, any_way.abs() * velocity.sign(), any_way)
        return torch.where((sign < 0).any(-1, keepdim=True), away, velocity)

    def _frame(self, places: Tensor, pictures: Tensor) -> Tensor:
        down, right = (self._weights(places[..., axis], pictures.shape[-1]) for axis in (0, 1))
        return (down @ pictures @ right.mT).sum(-3).clamp_max(1)

    def _weights(self, places: Tensor, pixels: int) -> Tensor:
        """How much of each pixel of a picture each of the canvas shows, `(*batch, canvas, pixels)`: linear between."""
        canvas = torch.arange(self.canvas, dtype=places.dtype, device=places.device) + 0.5
        seen = (canvas - places[..., None]) * (pixels / self.digit) - 0.5
        return (1 - (seen[..., None] - torch.arange(pixels, dtype=places.dtype, device=places.device)).abs()).relu()

    def _pictures(self) -> Tensor:
        return _bank(self.source, self.split)[0]


@lru_cache(maxsize=4)
def _bank(source: Source, split: Split) -> tuple[Tensor, Tensor]:
    """All pictures `(n, height, width)` of a part, and their labels."""
    data = source.load(split)
    images, labels = data[list(range(len(data)))]  # type: ignore[arg-type]
    if images.ndim != 4 or images.shape[1] != 1 or images.shape[2] != images.shape[3]:
        raise ValueError(f"moving digits are square pictures of one channel, got {tuple(images.shape[1:])}")
    return images[:, 0], labels
