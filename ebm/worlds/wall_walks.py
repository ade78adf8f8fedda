"""What a model of `WallRooms` is trained on: random walks, some of which go through the door."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ebm.worlds.policies import Scripted
from ebm.worlds.trajectories import Trajectories, simulate
from ebm.worlds.wall_rooms import WallRooms

STEP = {"mean": 1.0, "std": 0.4, "low": 0.2, "high": 1.8}  # pixels
CLEAR = 0.01  # pixels from a wall, where a walk begins at the least


def wall_walks(
    world: WallRooms,
    count: int,
    steps: int,
    generator: torch.Generator,
    *,
    crossing: float = 0.35,
    turn: float = 0.48,
    scale: float = 1.0,
) -> Trajectories:
    """Headings that drift by normal angles of deviation `turn`, steps of 1 pixel, give or take, times `scale`.

    Lengths of steps are normal, mean 1 and deviation 0.4, cut off at 0.2 and 1.8. The share `crossing` of the walks
    would be in the door at one of their steps, drawn uniformly, did they meet no wall before; all others begin anywhere
    in the rooms. These are the numbers of Terver et al. 2026 (2602.03604), whose turns are of a von Mises law of
    concentration 5; of their walks, 90 steps long, a window of 17 is used, so that fewer windows hold the door.
    """
    if not 0 <= crossing <= 1:
        raise ValueError(f"crossing is a share, from 0 to 1, got {crossing}")
    if steps < 1:
        raise ValueError(f"a walk has at least 1 step, got {steps}")
    layout = world.layouts(count, generator)
    share = torch.rand(count, 6, generator=generator, device=generator.device)
    crosses, when = share[:, 0] < crossing, (share[:, 1] * steps).long()
    sideways = math.pi * (share[:, 2].round() + (share[:, 3] - 0.5) / 2)  # left or right, within 45 degrees
    heading = torch.where(crosses, sideways, 2 * math.pi * share[:, 3])
    moves = scale * _moves(heading, when, steps, turn, generator)
    passed = torch.arange(steps, device=layout.device)[:, None] < when[:, None, None]
    in_door = layout + (2 * share[:, 4:] - 1) * layout.new_tensor([world.wall, world.door])
    place = torch.where(crosses[:, None], in_door - (moves * passed).sum(1), _anywhere(world, layout, share[:, 4:]))
    place = _off_walls(world, layout, place)
    states = torch.cat([place, place, layout], -1)
    return simulate(world, Scripted(moves / world.reach), count, steps, generator, states)


def _moves(heading: Tensor, when: Tensor, steps: int, turn: float, generator: torch.Generator) -> Tensor:
    """Moves `(count, steps, 2)` in pixels, whose heading at the step `when` is that which is given."""
    drawn = torch.randn(len(heading), steps, generator=generator, device=heading.device)
    drift = (turn * drawn).cumsum(1)
    angles = heading[:, None] + drift - drift.gather(1, when[:, None])
    share = torch.rand(len(heading), steps, generator=generator, device=heading.device)
    low, high = ((STEP[end] - STEP["mean"]) / STEP["std"] for end in ("low", "high"))
    below, above = (0.5 * (1 + math.erf(bound / math.sqrt(2))) for bound in (low, high))
    lengths = STEP["mean"] + STEP["std"] * torch.special.ndtri(below + (above - below) * share)
    return lengths[..., None] * torch.stack([angles.cos(), angles.sin()], -1)


def _anywhere(world: WallRooms, layout: Tensor, share: Tensor) -> Tensor:
    """Places that are uniform over both rooms, `(count, 2)`: the wall is jumped over."""
    low, high = world.bounds
    x = low + share[:, 0] * (high - low - 2 * world.wall)
    x = torch.where(x > layout[:, 0] - world.wall, x + 2 * world.wall, x)
    return torch.stack([x, low + share[:, 1] * (high - low)], -1)


def _off_walls(world: WallRooms, layout: Tensor, place: Tensor) -> Tensor:
    """The places, moved inside the outer walls and out of the inner one, to the side that they are nearer to."""
    low, high = world.bounds
    place = place.clamp(low + CLEAR, high - CLEAR)
    off = place - layout
    side = torch.where(off[:, 0] < 0, -1.0, 1.0)
    inside = (off[:, 0].abs() < world.wall + CLEAR) & (off[:, 1].abs() > world.door - CLEAR)
    beside = layout[:, 0] + side * (world.wall + CLEAR)
    return torch.stack([torch.where(inside, beside, place[:, 0]), place[:, 1]], -1)
