"""Two rooms and the door between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ebm.worlds.rooms import Rooms

MARGIN = 0.08  # from the edge of the square, where episodes begin and end
AWAY = 0.1  # from the middle of the wall
SIDES = (0.35, 0.65)  # where a wall that is drawn stands
DOORS = (0.2, 0.8)


@final
@dataclass(frozen=True)
class TwoRooms(Rooms):
    """Agent and goal are in different rooms, always; the door may be out of the straight way.

    The wall stands at x = 0.5 with its door at y = 0.3. With `random_wall` both are drawn for each episode, x from 0.35
    to 0.65 and y from 0.2 to 0.8, and are a truth that a probe may be asked about.
    """

    random_wall: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.thickness < AWAY:
            raise ValueError(f"thickness is half of the wall's, less than {AWAY}, got {self.thickness}")

    def layout(self, count: int, generator: torch.Generator) -> Tensor:
        if not self.random_wall:
            return torch.tensor([[[0.5, 0.3]]], device=generator.device).expand(count, 1, 2)
        drawn = torch.rand(count, 1, 2, generator=generator, device=generator.device)
        low, high = drawn.new_tensor([SIDES, DOORS]).unbind(-1)
        return low + drawn * (high - low)

    def ends(self, walls: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        wall, span = walls[:, 0, :1], 1 - 2 * MARGIN
        left = MARGIN + drawn[:, :1] * (wall - AWAY - MARGIN)
        right = 1 - MARGIN - drawn[:, 1:2] * (1 - MARGIN - wall - AWAY)
        above, below = (MARGIN + span * drawn[:, 2:]).split(1, -1)
        return torch.cat([left, above], -1), torch.cat([right, below], -1)

    def truth(self, states: Tensor) -> dict[str, Tensor]:
        known = super().truth(states)
        return {**known, "walls": states[..., 5:]} if self.random_wall else known
