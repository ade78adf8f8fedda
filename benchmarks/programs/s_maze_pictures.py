"""What the page of the S-maze draws: distances in codes of two levels, and a film of what a hierarchy imagines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from s_maze_agents import Kit, control, flat, shuffled
from s_maze_models import WORLD, Walks, upper_probe
from torch import Tensor, nn

from ebm.energies import Dynamics
from ebm.planning import HierarchicalControl, play

GRID = 47
EPISODES = 24
FLAT = "flat_gd_4x10_h15"


@torch.no_grad()
def over_places(dynamics: Dynamics, state: Tensor) -> Tensor:
    """The squared distance of codes from the goal's at a grid of places `(GRID, GRID)`; row is y."""
    steps = torch.linspace(0.03, 0.97, GRID)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    states = state.expand(GRID, GRID, -1).clone()
    states[..., 0], states[..., 1] = x, y
    goal = dynamics.read(WORLD.observe(WORLD.goal(state[None])))
    return (dynamics.read(WORLD.observe(states)) - goal).square().mean(-1)


@torch.no_grad()
def film(hierarchy: HierarchicalControl, state: Tensor, where: nn.Module, above: nn.Module) -> dict[str, Tensor]:
    """Positions `(T + 1, 2)`, and at each step what both levels imagine, as probes read it."""
    agent = shuffled(hierarchy)
    states, goal = state[None], WORLD.observe(WORLD.goal(state[None]))
    top, low = hierarchy.model.dynamics_of(1), hierarchy.model.dynamics
    way, upper, lower, seen_at = [states[0, :2]], [], [], states
    for time in range(WORLD.episode):
        if time % hierarchy.every[1] == 0:
            seen_at = states  # the upper level plans from here
        action = agent.act(WORLD.observe(states), goal)
        plans = hierarchy.actions
        assert plans[0] is not None
        assert plans[1] is not None
        upper.append(above(top.rollout(top.read(WORLD.observe(seen_at)), plans[1]))[0])
        lower.append(where(low.rollout(low.read(WORLD.observe(states)), plans[0]))[0])
        states = WORLD.step(states, action)
        way.append(states[0, :2])
    return {"way": torch.stack(way), "upper": torch.stack(upper), "lower": torch.stack(lower)}


def pictures(kit: Kit, where: nn.Module, walks: Walks, seed: int, path: Path) -> None:
    """Write all of it to an .npz file. Of the episodes the first is filmed in which the hierarchy arrives."""
    two = kit.ladders["two"]
    climbed, straight = (
        play(WORLD, shuffled(control(two)), EPISODES, seed),
        play(WORLD, flat(kit)[FLAT](), EPISODES, seed),
    )
    chosen = int((climbed.reached & ~straight.reached).long().argmax())
    state = climbed.states[chosen, 0]
    arrays = {
        "state": state,
        "lowest": over_places(two.dynamics, state),
        "above": over_places(two.dynamics_of(1), state),
        "hierarchy": climbed.states[..., :2],
        "flat": straight.states[..., :2],
        "chosen": torch.tensor(chosen),
        **film(control(two), state, where, upper_probe(two, walks)),
    }
    np.savez_compressed(path, **{name: value.numpy() for name, value in arrays.items()})
