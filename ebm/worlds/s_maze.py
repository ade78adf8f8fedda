"""Three rooms in a row with doors at opposite ends: the goal is reached by going away from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ebm.worlds.rooms import Rooms

MARGIN = 0.06  # in x, from the edge of the square, where episodes begin and end
DEEP = 0.2  # how wide the place is where they do
INSET = 0.08  # in y


@final
@dataclass(frozen=True)
class SMaze(Rooms):
    """Walls at x = 1/3 and 2/3, with doors at y = 0.2 and 0.8; agent and goal in the outer rooms, either way round."""

    limit: float = 0.07
    door: float = 0.11
    episode: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.thickness < 1 / 3 - MARGIN - DEEP:
            raise ValueError(f"thickness is half of a wall's, less than 0.07, got {self.thickness}")

    def layout(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.tensor([[[1 / 3, 0.2], [2 / 3, 0.8]]], device=generator.device).expand(count, 2, 2)

    def ends(self, walls: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        left, right = (MARGIN + DEEP * drawn[:, :2]).split(1, -1)
        first, second = (INSET + (1 - 2 * INSET) * drawn[:, 2:]).split(1, -1)
        return torch.cat([left, first], -1), torch.cat([1 - right, second], -1)
