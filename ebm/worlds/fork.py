"""A road that forks: where a car will be is known but for one choice, which nothing before it tells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from ebm.worlds.world import World

OFFSET, SPEED, DRIVEN, BEFORE, EXIT = range(5)
"""Of each car, in a state: its offset in the lane, its speed, how far it has driven now and a step ago, and the exit
that its driver took, from 1; 0 before the junction."""


@final
@dataclass(frozen=True)
class Fork(World):
    """A car drives up a road; at the junction its driver takes the left or the right arm, as `probabilities` says.

    All is measured in a square from -1 to 1, x to the right and y up. A car starts at the bottom, up to `lane` off the
    middle of the road, and drives by its own speed, from `slow` to `fast`, each step. After `stem` it is at the
    junction, and goes on at `turn` degrees to the left or right of straight ahead; with three probabilities it may go
    straight on too. After `arm` it stops, and the episode has ended when all cars have. The exit is drawn when the
    junction is passed, and nothing before that tells it.

    A second car, if there are two, comes from the top and has a junction of its own: the world turned by 180 degrees.

    A car is round, `exp(-r^2 / (2 width^2))` at a distance of r; `observe` shows the last frame and this, without the
    road, `(*batch, 2, size, size)`, the top row first. What may be asked: `place` `(*batch, 2 cars)`, `offset`,
    `speed` and `exit` `(*batch, cars)`. Nothing can be done.
    """

    actions: ClassVar[int] = 0

    probabilities: tuple[float, ...] = (0.5, 0.5)
    """Of the exits, from left to right: two or three."""
    cars: int = 1
    turn: float = 50.0
    slow: float = 0.2
    fast: float = 0.28
    lane: float = 0.1
    stem: float = 0.5
    arm: float = 1.3
    road: float = 0.22
    """From the middle of a road to its edge."""
    width: float = 0.12
    """Of a car in the picture, one standard deviation."""
    size: int = 16
    episode: int = 8

    def __post_init__(self) -> None:
        total, exits = math.fsum(self.probabilities), len(self.probabilities)
        if exits not in (2, 3) or min(self.probabilities) < 0 or abs(total - 1) > 1e-6:
            raise ValueError(f"a fork has 2 or 3 exits, whose probabilities add up to 1, not {self.probabilities}")
        if self.cars not in (1, 2):
            raise ValueError(f"there are 1 or 2 cars on this road, not {self.cars}")
        if not 0 < self.turn <= 90:
            raise ValueError(f"the arms turn off by more than 0 and at most 90 degrees, not {self.turn}")
        if not 0 < self.slow <= self.fast < math.inf:
            raise ValueError(f"speeds are positive, `slow` at most `fast`, not {self.slow} and {self.fast}")
        for name, high in (("lane", self.road), ("road", 1), ("stem", 1.9), ("arm", math.inf), ("width", 1)):
            if not 0 < getattr(self, name) < high:
                raise ValueError(f"`{name}` is between 0 and {high}, not {getattr(self, name)}")
        if self.size < 4 or self.episode < 1:
            raise ValueError(f"a picture has at least 4 rows and an episode 1 step, not {self.size} and {self.episode}")

    @property
    def exits(self) -> int:
        """Arms that a car may take."""
        return len(self.probabilities)

    @property
    def modes(self) -> int:
        """Futures that there are for one past."""
        return self.exits**self.cars

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(count, self.cars, 2, generator=generator, device=generator.device)
        offset, speed = self.lane * (2 * drawn[..., 0] - 1), self.slow + (self.fast - self.slow) * drawn[..., 1]
        zero = torch.zeros_like(speed)
        return torch.stack([offset, speed, zero, -speed, zero], -1).flatten(-2)

    def noise(self, states: Tensor, generator: torch.Generator) -> Tensor | None:
        """A uniform number from 0 to 1 for each driver, `(*batch, cars)`."""
        return states.new_empty(*states.shape[:-1], self.cars).uniform_(generator=generator)

    def step(self, states: Tensor, actions: Tensor, noise: Tensor | None = None) -> Tensor:
        if noise is None:
            raise ValueError("the exit is left to chance: give step the noise that `noise` draws")
        batch = torch.broadcast_shapes(states.shape[:-1], actions.shape[:-1], noise.shape[:-1])
        offset, speed, driven, _, chosen = self._parts(states.expand(*batch, -1))
        bounds = torch.tensor(self.probabilities[:-1], dtype=states.dtype, device=states.device).cumsum(0)
        drawn = 1 + (noise.unsqueeze(-1) >= bounds).sum(-1).to(states)
        on = (driven + speed).clamp_max(self.stem + self.arm)
        chosen = torch.where((chosen == 0) & (on >= self.stem), drawn, chosen)
        moved = torch.stack([offset, speed, on, driven, chosen], -1).flatten(-2)
        return torch.where(self.ended(states).unsqueeze(-1), states, moved)

    def observe(self, states: Tensor) -> Tensor:
        return torch.stack([self.render(self._places(states, BEFORE)), self.render(self.places(states))], -3)

    def truth(self, states: Tensor) -> dict[str, Tensor]:
        offset, speed, _, _, chosen = self._parts(states)
        return {"place": self.places(states).flatten(-2), "offset": offset, "speed": speed, "exit": chosen}

    def ended(self, states: Tensor) -> Tensor:
        return (self._parts(states)[DRIVEN] >= self.stem + self.arm).all(-1)

    def places(self, states: Tensor) -> Tensor:
        """Where the cars are, `(*batch, cars, 2)`."""
        return self._places(states, DRIVEN)

    def render(self, places: Tensor) -> Tensor:
        """A frame `(*batch, size, size)` of cars anywhere, `(*batch, cars, 2)`, on the road or not."""
        line = torch.linspace(-1, 1, self.size, dtype=places.dtype, device=places.device)
        across, down = (
            torch.exp(-(line - place.unsqueeze(-1)).square() / (2 * self.width**2))
            for place in (places[..., 0], -places[..., 1])
        )
        return (down.mT @ across).clamp_max(1)

    def futures(self, states: Tensor, steps: int) -> Tensor:
        """The states after so many steps for every choice that is still open, `(modes, *batch, features)`.

        The exit of the first car varies slowest. All are the same where all drivers have chosen.
        """
        offset, speed, driven, _, chosen = self._parts(states)
        open_to = torch.cartesian_prod(*[torch.arange(1, self.exits + 1)] * self.cars).reshape(self.modes, self.cars)
        exits = open_to.to(states).reshape(self.modes, *(1,) * (states.ndim - 1), self.cars)
        far = self.stem + self.arm
        on, last = ((driven + speed * n).clamp_max(far) for n in (steps, steps - 1))
        exits = torch.where((chosen == 0) & (on >= self.stem), exits, chosen)
        return torch.stack(torch.broadcast_tensors(offset, speed, on, last, exits), -1).flatten(-2)

    def impossible(self, states: Tensor, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Places `(*batch, cars, 2)` where no car is after so many steps, whatever the drivers choose.

        `average`: the mean of its places over all choices, for two exits in the wall between them. `off_road`: anywhere
        beside the roads. `too_far`: on an arm, further along it than it can be, by 0.25 to 0.35.
        """
        futures, batch = self.futures(states, steps), states.shape[:-1]
        drawn = torch.rand(*batch, 1 + self.cars, generator=generator, device=generator.device).to(states)
        mode = (drawn[..., :1] * self.modes).long().clamp_max(self.modes - 1)
        parts = [*self._parts(futures.gather(0, mode.expand(1, *states.shape))[0])]
        parts[DRIVEN] = parts[DRIVEN] + 0.25 + 0.1 * drawn[..., 1:]
        places, far = self.places(futures), torch.stack(parts, -1).flatten(-2)
        return {
            "average": places.mean(0),
            "off_road": self._beside(batch, generator).to(states),
            "too_far": self.places(far),
        }

    def on_road(self, places: Tensor, car: int = 0) -> Tensor:
        """Which places `(*batch, 2)` are on the roads of a car."""
        places = -places if car else places
        start = places.new_tensor([0.0, -0.9])
        junction = places.new_tensor([0.0, self.stem - 0.9])
        ends = [junction + self.arm * heading for heading in self._headings(places)[1:]]
        legs = [(start, junction), *((junction, end) for end in ends)]
        return torch.stack([_distance(places, *leg) for leg in legs]).amin(0) <= self.road

    def _places(self, states: Tensor, when: int) -> Tensor:
        """`(u, driven - 0.9)` up to the junction, and from there along the heading of the exit."""
        parts = self._parts(states)
        beyond = (parts[when] - self.stem).relu().unsqueeze(-1)
        up = parts[when].clamp_max(self.stem) - 0.9
        heading = self._headings(states)[parts[EXIT].long()]
        places = torch.stack([parts[OFFSET], up], -1) + beyond * heading
        return places * places.new_tensor([[1.0], [-1.0]])[: self.cars]

    def _headings(self, like: Tensor) -> Tensor:
        """Unit vectors by exit, `(1 + exits, 2)`: straight ahead before there is one, then from left to right."""
        degrees = {2: (0.0, -self.turn, self.turn), 3: (0.0, -self.turn, 0.0, self.turn)}[self.exits]
        angles = torch.deg2rad(torch.tensor(degrees, dtype=like.dtype, device=like.device))
        return torch.stack([angles.sin(), angles.cos()], -1)

    def _parts(self, states: Tensor) -> tuple[Tensor, ...]:
        """The numbers of all cars by kind, `(*batch, cars)` each."""
        if states.shape[-1] != 5 * self.cars:
            raise ValueError(f"a state of this fork has {5 * self.cars} features, got {tuple(states.shape)}")
        return states.unflatten(-1, (self.cars, 5)).unbind(-1)

    def _beside(self, batch: torch.Size, generator: torch.Generator, tries: int = 32) -> Tensor:
        """For each car the first of some places at random that is off its roads, `(*batch, cars, 2)`."""
        shape = (*batch, self.cars, tries, 2)
        anywhere = 1.8 * torch.rand(shape, generator=generator, device=generator.device) - 0.9
        off = torch.stack([~self.on_road(anywhere[..., car, :, :], car) for car in range(self.cars)], -2)
        first = off.to(torch.uint8).argmax(-1)[..., None, None].expand(*off.shape[:-1], 1, 2)
        return anywhere.gather(-2, first).squeeze(-2)


def _distance(places: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """From places `(*batch, 2)` to a straight piece of road, `(*batch,)`."""
    way = end - start
    share = ((places - start) @ way / way.square().sum()).clamp(0, 1)
    return torch.linalg.vector_norm(places - (start + share.unsqueeze(-1) * way), dim=-1)
