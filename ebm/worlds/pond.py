"""Balls on a pond, which can be predicted, and leaves on its bank, which cannot, or tell nothing of the balls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final, get_args

import torch
from torch import Tensor

from ebm.worlds.bouncing import bounced, headings
from ebm.worlds.world import World

Process = Literal["none", "independent", "drifting", "autoregressive", "static"]


@final
@dataclass(frozen=True)
class Pond(World):
    """Balls bounce about the left of a picture; leaves, which no ball ever meets, move in its right as `process` says.

    - `none`: there are none.
    - `independent`: anywhere on the bank, anew in each frame.
    - `drifting`: a random walk of `drift` pixels a step (standard deviation), turned back at the edges of the bank.
    - `autoregressive`: `p' = m + persistence (p - m) + sqrt(1 - persistence^2) s e` about the middle m of the bank, e
      standard normal, s a quarter of its size; turned back at its edges too.
    - `static`: they lie where they began, which is another place in each trajectory.

    All is measured in pixels, down and right. Balls and leaves are round, `exp(-r^2 / 2)` at a distance of r, as bright
    as `ball` and `amplitude` say, summed and cut at 1. `push` is how much an action of 1 adds to the velocity of the
    first ball, which stays below twice `speed`; where it is 0, nothing can be done. `observe` shows the last frame and
    this. What may be asked: `ball` and `leaves`, `(*batch, 2 n)`, their places now.
    """

    process: Process = "independent"
    leaves: int = 4
    balls: int = 1
    amplitude: float = 1.0
    ball: float = 1.0
    push: float = 0.0
    speed: float = 1.2
    drift: float = 0.7
    persistence: float = 0.9
    size: int = 12  # of the pond, a square
    bank: int = 8  # columns to its right
    episode: int = 50

    def __post_init__(self) -> None:
        if self.process not in get_args(Process):
            raise ValueError(f"leaves are {', '.join(get_args(Process))}, not {self.process!r}")
        least = {"leaves": 1, "balls": 1, "size": 4, "bank": 3, "episode": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}, got {getattr(self, name)}")
        for name, high in {"amplitude": 1.0, "ball": 1.0, "persistence": 1.0}.items():
            if not 0 <= getattr(self, name) <= high:
                raise ValueError(f"{name} must be from 0 to {high:g}, got {getattr(self, name)}")
        for name in ("push", "speed", "drift"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")

    @property
    def actions(self) -> int:  # type: ignore[override]
        """Features of an action: down and right."""
        return 2 if self.push else 0

    @property
    def features(self) -> int:
        """Of a state: places before, places now and velocities of the balls, then places before and now of leaves."""
        return 6 * self.balls + 4 * self._leaves

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        balls = 1 + (self.size - 3) * self._uniform((count, self.balls, 2), generator)
        velocity = self.speed * headings(self._uniform((count, self.balls), generator))
        before = self._anywhere(self._uniform((count, self._leaves, 2), generator))
        if self.process == "autoregressive":
            low, high = self._bank(before)
            spread = (high - low) / 4
            before = self._on_bank((low + high) / 2 + spread * torch.empty_like(before).normal_(generator=generator))
        last, _ = self._inside(balls - velocity)
        states = torch.cat([part.flatten(-2) for part in (last, balls, velocity, before, before)], -1)
        leaves = self._moved(before, self.noise(states, generator))
        return torch.cat([states[..., : self.features - 2 * self._leaves], leaves.flatten(-2)], -1)

    def noise(self, states: Tensor, generator: torch.Generator) -> Tensor | None:
        """Uniform numbers from 0 to 1 where leaves are independent, else standard normal ones: two for each leaf."""
        if self.process in ("none", "static"):
            return None
        drawn = states.new_empty(*states.shape[:-1], 2 * self._leaves)
        return (drawn.uniform_ if self.process == "independent" else drawn.normal_)(generator=generator)

    def step(self, states: Tensor, actions: Tensor, noise: Tensor | None = None) -> Tensor:
        _, balls, velocity, _, leaves = self._parts(states)
        if self.actions:
            velocity = self._pushed(velocity, actions)
        now, sign = self._inside(balls + velocity)
        parts = [balls, now, sign * velocity, leaves, self._moved(leaves, noise)]
        flat = [part.flatten(-2) for part in parts]
        batch = torch.broadcast_shapes(*(part.shape[:-1] for part in flat), actions.shape[:-1])
        return torch.cat([part.expand(*batch, part.shape[-1]) for part in flat], -1)

    def observe(self, states: Tensor) -> Tensor:
        last, now, _, before, leaves = self._parts(states)
        frames = [self._frame(last, before), self._frame(now, leaves)]
        return torch.stack(frames, -3)

    def truth(self, states: Tensor) -> dict[str, Tensor]:
        _, balls, _, _, leaves = self._parts(states)
        asked = {"ball": balls.flatten(-2)}
        return asked | {"leaves": leaves.flatten(-2)} if self._leaves else asked

    @property
    def _leaves(self) -> int:
        return 0 if self.process == "none" else self.leaves

    def _parts(self, states: Tensor) -> tuple[Tensor, ...]:
        if states.shape[-1] != self.features:
            raise ValueError(f"a state of this pond has {self.features} features, got {tuple(states.shape)}")
        balls, leaves = 2 * self.balls, 2 * self._leaves
        return tuple(part.unflatten(-1, (-1, 2)) for part in states.split([balls] * 3 + [leaves] * 2, -1))

    def _pushed(self, velocity: Tensor, actions: Tensor) -> Tensor:
        first = velocity[..., :1, :] + self.push * actions.clamp(-1, 1)[..., None, :]
        first = first / (torch.linalg.vector_norm(first, dim=-1, keepdim=True) / (2 * self.speed + 1e-9)).clamp_min(1)
        rest = velocity[..., 1:, :]
        return torch.cat([first, rest.expand(*first.shape[:-2], *rest.shape[-2:])], -2)

    def _inside(self, balls: Tensor) -> tuple[Tensor, Tensor]:
        return bounced(balls, 1.0, self.size - 2.0)

    def _moved(self, leaves: Tensor, noise: Tensor | None) -> Tensor:
        if self.process in ("none", "static"):
            return leaves
        if noise is None:
            raise ValueError(f"{self.process} leaves are left to chance: give step the noise that `noise` draws")
        drawn = noise.unflatten(-1, (-1, 2))
        moves = {"independent": self._anew, "drifting": self._wandered, "autoregressive": self._returned}
        return moves[self.process](leaves, drawn)

    def _anew(self, leaves: Tensor, drawn: Tensor) -> Tensor:
        return self._anywhere(drawn)

    def _wandered(self, leaves: Tensor, drawn: Tensor) -> Tensor:
        return self._on_bank(leaves + self.drift * drawn)

    def _returned(self, leaves: Tensor, drawn: Tensor) -> Tensor:
        low, high = self._bank(leaves)
        middle = (low + high) / 2
        spread = (1 - self.persistence**2) ** 0.5 * (high - low) / 4
        return self._on_bank(middle + self.persistence * (leaves - middle) + spread * drawn)

    def _on_bank(self, leaves: Tensor) -> Tensor:
        return bounced(leaves, *self._bank(leaves))[0]

    def _anywhere(self, shares: Tensor) -> Tensor:
        low, high = self._bank(shares)
        return low + (high - low) * shares

    def _bank(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low = like.new_tensor([0.0, self.size + 1.0])
        return low, like.new_tensor([self.size - 1.0, self.size + self.bank - 1.0])

    def _frame(self, balls: Tensor, leaves: Tensor) -> Tensor:
        return (self.ball * self._blobs(balls) + self.amplitude * self._blobs(leaves)).clamp_max(1)

    def _blobs(self, places: Tensor) -> Tensor:
        """`(*batch, n, 2) -> (*batch, height, width)`, their sum: a product of a column and a row for each."""
        columns = torch.arange(self.size + self.bank, dtype=places.dtype, device=places.device)
        squares = [(places[..., :1] - columns[: self.size]).square(), (places[..., 1:] - columns).square()]
        # exp(-40), of which a product is still a normal number in single precision: subnormal ones are slow.
        down, right = (torch.exp(-0.5 * square.clamp_max(80)) for square in squares)
        return down.mT @ right

    def _uniform(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device)
