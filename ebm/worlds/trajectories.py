"""Trajectories: what became of many copies of a world, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ebm.worlds.world import World

Policy = Callable[[World, Tensor, torch.Generator], Tensor]
"""`(world, states (*batch, features), generator) -> actions (*batch, actions)`."""


class Trajectories(NamedTuple):
    """States, and what was done in each but the last."""

    states: Tensor  # (batch, steps + 1, features)
    actions: Tensor  # (batch, steps, actions)


@torch.no_grad()
def simulate(
    world: World, policy: Policy, count: int, steps: int, generator: torch.Generator, start: Tensor | None = None
) -> Trajectories:
    """`count` trajectories of so many steps, from `start` or from where the world begins.

    The only loop is over steps; everything is drawn from the generator, on its device. A policy that remembers is
    called once a step, in order.
    """
    states = world.start(count, generator) if start is None else start
    seen, done = [states], []
    for _ in range(steps):
        actions = policy(world, states, generator)
        states = world.step(states, actions, world.noise(states, generator))
        seen.append(states)
        done.append(actions)
    actions = torch.stack(done, -2) if done else states.new_zeros(*states.shape[:-1], 0, world.actions)
    return Trajectories(torch.stack(seen, -2), actions)
