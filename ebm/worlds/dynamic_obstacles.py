"""A room where obstacles wander: MiniGrid's Dynamic-Obstacles, many copies at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional

from ebm.worlds.world import World

HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up, as MiniGrid numbers them
TRIES = 100  # draws of a cell by which MiniGrid tries to place an obstacle before it leaves it where it is
AGENT, HEADING, STEPS, SUCCEEDED, VIOLATED, MOVERS = slice(0, 2), 2, 3, 4, 5, 6  # features of a state


@final
@dataclass(frozen=True)
class DynamicObstacles(World):
    """`size` x `size` cells, a wall around them, a goal in the lower right corner and `obstacles` that wander.

    Actions are choices: 0 turns left, 1 turns right, 2 goes forward. It is violated, and over, when the agent goes
    forward where a wall or an obstacle **was** in front of it: what moves there only as it goes stops it, no more. It
    has succeeded, and is over, when it goes forward onto the goal.

    Obstacles move first, one after the other: each goes to one of the free cells of the 3 x 3 around it, drawn with
    equal chances, and never to the agent's or the goal's. With k free cells it stays with chance (1 - k/9)^100, for
    MiniGrid draws a cell a hundred times and then gives up. `noise` is one uniform number for each obstacle.

    States: x, y, heading, steps done, whether it succeeded, whether it was violated, then x, y of each obstacle.
    `observe` shows the whole room in planes `(7, size, size)` of rows y and columns x: obstacles, walls, the goal, and
    the agent in one of four planes by its heading. Obstacles have no velocity, so that one frame is all there is to
    know. Defaults are those of MiniGrid-Dynamic-Obstacles-8x8-v0; `anywhere` begins at a random cell and heading, as
    its Random variants do. MiniGrid's `episode` is 4 size^2, and its agent sees 7 x 7 cells before it, not the room.

    Raises ValueError for a room of less than 5 cells, for more obstacles than `size / 2 + 1` (MiniGrid then quietly
    takes fewer), and where a step is asked for without noise. Chevalier-Boisvert et al. 2023, "Minigrid & Miniworld".
    """

    size: int = 8
    obstacles: int = 4
    anywhere: bool = False
    episode: int = 256

    actions: ClassVar[int] = 3
    discrete: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.size < 5:
            raise ValueError(f"`size` counts the walls and should be at least 5, got {self.size}")
        if not 0 <= self.obstacles <= self.size // 2 + 1:
            raise ValueError(
                f"`obstacles` should be from 0 to size / 2 + 1 = {self.size // 2 + 1}, got {self.obstacles}: "
                "raise `size` for more"
            )
        if self.episode < 1:
            raise ValueError(f"`episode` should be at least one step, got {self.episode}")

    def start(self, count: int, generator: torch.Generator) -> Tensor:
        """Cells drawn without replacement for the obstacles, and for the agent if it begins anywhere."""
        device = generator.device
        corner = torch.ones(count, 1, dtype=torch.long, device=device) * (self.size + 1)
        keys = torch.rand(count, self.size**2, generator=generator, device=device)
        taken = self._blocked(torch.arange(self.size**2, device=device))
        keys = keys.masked_fill(taken, 2.0)
        if not self.anywhere:
            keys = keys.scatter(1, corner, 2.0)
        cells = keys.argsort(1)[:, : self.obstacles + 1]
        agent = cells[:, -1:] if self.anywhere else corner
        movers = self._places(cells[:, : self.obstacles]).flatten(1)
        heading = torch.randint(4, (count, 1), generator=generator, device=device) * self.anywhere
        zeros = torch.zeros(count, 3, device=device)
        return torch.cat([self._places(agent).flatten(1), heading, zeros, movers], 1).float()

    def noise(self, states: Tensor, generator: torch.Generator) -> Tensor:
        """A uniform number for each obstacle."""
        shape = (*states.shape[:-1], self.obstacles)
        return torch.rand(shape, generator=generator, dtype=states.dtype, device=states.device)

    def step(self, states: Tensor, actions: Tensor, noise: Tensor | None = None) -> Tensor:
        """Obstacles move, then the agent; whether it collides was settled before either moved."""
        if noise is None:
            raise ValueError("obstacles move at random: give `noise=world.noise(states, generator)`")
        if actions.shape[-1] != self.actions:
            raise ValueError(
                f"an action is one of {self.actions} choices, one-hot, (*batch, {self.actions}), got"
                f" {tuple(actions.shape)}"
            )
        batch = torch.broadcast_shapes(states.shape[:-1], actions.shape[:-1], noise.shape[:-1])
        states, noise = states.expand(*batch, -1), noise.expand(*batch, -1)
        choice = actions.argmax(-1).expand(batch)
        forward, heading = choice == 2, states[..., HEADING]
        agent, movers = self._cells(states[..., AGENT]), self._cells(self._movers(states))
        front = agent + self._ahead(heading)
        hit = forward & ~self._clear(front, movers)
        moved = self._wander(agent, movers, noise)
        goes = forward & self._clear(front, moved)
        parts = [
            self._places(torch.where(goes, front, agent)),
            ((heading + (choice == 1).to(heading) - (choice == 0).to(heading)) % 4).unsqueeze(-1),
            states[..., STEPS, None] + 1,
            (forward & (front == self._goal)).to(states).unsqueeze(-1),
            hit.to(states).unsqueeze(-1),
            self._places(moved).flatten(-2),
        ]
        return torch.where(self.ended(states).unsqueeze(-1), states, torch.cat(parts, -1))

    def observe(self, states: Tensor) -> Tensor:
        """Planes: obstacles, walls, goal, then the agent heading right, down, left, up."""
        cells = torch.arange(self.size**2, device=states.device)
        agent = (self._cells(states[..., AGENT]).unsqueeze(-1) == cells).to(states)
        headings = functional.one_hot(states[..., HEADING].long(), 4).to(states)
        fixed = torch.stack([self._walls(cells), cells == self._goal]).to(states)
        planes = [
            self._occupied(states).unsqueeze(-2),
            fixed.expand(*agent.shape[:-1], 2, -1),
            headings.unsqueeze(-1) * agent.unsqueeze(-2),
        ]
        return torch.cat(planes, -2).unflatten(-1, (self.size, self.size))

    def truth(self, states: Tensor) -> dict[str, Tensor]:
        """Where the agent and the obstacles are, and how many cells there are to the goal."""
        agent = states[..., AGENT]
        return {
            "agent": agent,
            "heading": functional.one_hot(states[..., HEADING].long(), 4).to(states),
            "obstacles": self._occupied(states),
            "distance": (self.size - 2 - agent).sum(-1, keepdim=True),
        }

    def goal(self, states: Tensor) -> Tensor:
        """The same with the agent on the goal."""
        there = torch.full_like(states[..., AGENT], self.size - 2)
        flags = torch.stack([torch.ones_like(states[..., 0]), torch.zeros_like(states[..., 0])], -1)
        return torch.cat([there, states[..., HEADING:SUCCEEDED], flags, states[..., MOVERS:]], -1)

    def succeeded(self, states: Tensor) -> Tensor:
        """Where the agent went onto the goal."""
        return states[..., SUCCEEDED] > 0

    def violated(self, states: Tensor) -> Tensor:
        """Where the agent went forward at a wall or an obstacle."""
        return states[..., VIOLATED] > 0

    def ended(self, states: Tensor) -> Tensor:
        """Where either has happened."""
        return self.succeeded(states) | self.violated(states)

    def reward(self, states: Tensor) -> Tensor:
        """MiniGrid's reward for coming to these states: 1 - 0.9 steps / episode at the goal, -1 for a collision."""
        won = self.succeeded(states) * (1 - 0.9 * states[..., STEPS] / self.episode)
        return won - self.violated(states).to(states)

    @property
    def _goal(self) -> int:
        return (self.size - 2) * (self.size + 1)

    def _cells(self, places: Tensor) -> Tensor:
        """x, y `(*batch, 2)` to the number of the cell `(*batch,)`."""
        return places[..., 0] + self.size * places[..., 1]

    def _places(self, cells: Tensor) -> Tensor:
        rows = torch.div(cells, self.size, rounding_mode="floor")
        return torch.stack([cells - self.size * rows, rows], -1)

    def _movers(self, states: Tensor) -> Tensor:
        return states[..., MOVERS:].unflatten(-1, (self.obstacles, 2))

    def _occupied(self, states: Tensor) -> Tensor:
        """One for each cell with an obstacle in it, `(*batch, size^2)`."""
        cells = torch.arange(self.size**2, device=states.device)
        movers = self._cells(self._movers(states))
        return (movers.unsqueeze(-1) == cells).any(-2).to(states)

    def _ahead(self, heading: Tensor) -> Tensor:
        """How much higher the number of the cell in front is."""
        return heading.new_tensor([x + self.size * y for x, y in HEADINGS])[heading.long()]

    def _walls(self, cells: Tensor) -> Tensor:
        places = self._places(cells)
        return ((places == 0) | (places == self.size - 1)).any(-1)

    def _blocked(self, cells: Tensor) -> Tensor:
        """Where no obstacle may stand."""
        return self._walls(cells) | (cells == self._goal)

    def _clear(self, cells: Tensor, movers: Tensor) -> Tensor:
        """Where the agent may go."""
        return ~self._walls(cells) & (cells.unsqueeze(-1) != movers).all(-1)

    def _wander(self, agent: Tensor, movers: Tensor, noise: Tensor) -> Tensor:
        """The cells of the obstacles `(*batch, obstacles)` after each has moved in its turn."""
        around = movers.new_tensor([x + self.size * y for y in (-1, 0, 1) for x in (-1, 0, 1)])
        places = list(movers.unbind(-1))
        for i in range(self.obstacles):
            cells = places[i].unsqueeze(-1) + around
            taken = torch.stack([*places, agent], -1)
            free = ~self._blocked(cells) & (cells.unsqueeze(-1) != taken.unsqueeze(-2)).all(-1)
            places[i] = _choose(cells, free, places[i], noise[..., i])
        return torch.stack(places, -1) if places else movers


def _choose(cells: Tensor, free: Tensor, old: Tensor, uniform: Tensor) -> Tensor:
    """One of the free cells by a uniform number, or the old one where none was found."""
    count = free.sum(-1).to(uniform)
    stays = (1 - count / free.shape[-1]) ** TRIES
    rank = ((uniform - stays) / (1 - stays) * count).floor().clamp(min=0)
    rank = torch.minimum(rank, count - 1)  # rounding may reach the count itself
    chosen = free & (free.cumsum(-1) - 1 == rank.unsqueeze(-1))
    return torch.where(uniform < stays, old, (cells * chosen).sum(-1))
