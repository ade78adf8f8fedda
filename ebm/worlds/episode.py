"""An episode, as it is written down: what was seen, what was done, and what it was worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ebm.worlds.trajectories import Trajectories
from ebm.worlds.world import World


class Episode(NamedTuple):
    """One trajectory of `steps` steps; what is seen and what is true have one time more than what is done."""

    observations: Tensor  # (steps + 1, ...), bytes or floating point
    actions: Tensor  # (steps, actions) from -1 to 1, or one-hot
    rewards: Tensor  # (steps,)
    terminated: bool  # whether it came to its own end; else it was cut
    truth: Mapping[str, Tensor]  # (steps + 1, features) by name


def scored(world: World, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """The reward of steps, and where they are the last.

    1 in a step that leads to success, less 1 in a step that is the first to violate; the last is where the world has
    ended, or success is reached.
    """
    succeeded = world.succeeded(after)
    worse = world.violated(after) & ~world.violated(before)
    return succeeded.double() - worse.double(), world.ended(after) | succeeded


def observed(world: World, trajectories: Trajectories, as_bytes: bool = True) -> Iterator[Episode]:
    """The episodes of simulated trajectories, one by one; they end where those do.

    Observations as bytes are those of the world times 255, rounded: a quarter of the space, and exact where they are 0
    or 1.
    """
    for states, actions in zip(*trajectories, strict=True):
        seen = world.observe(states)
        rewards, _ = scored(world, states[:-1], states[1:])
        ended = bool(world.ended(states[-1]))
        seen = (255 * seen).round().to(torch.uint8) if as_bytes else seen
        yield Episode(
            seen.cpu(), actions.cpu(), rewards.cpu(), ended, {k: v.cpu() for k, v in world.truth(states).items()}
        )
