"""What the page of two rooms draws: energies over places and over plans, and films of what was imagined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from two_rooms_agents import HORIZON, Kit, descent
from two_rooms_guardrails import HAZARD, guarded

from ebm.energies import Plan
from ebm.planning import ModelPredictiveControl, Played, play
from ebm.worlds import TwoRooms

GRID = 41
EPISODES = 24


@torch.no_grad()
def over_places(kit: Kit, state: Tensor) -> Tensor:
    """The distance of codes from the goal's at a grid of places `(GRID, GRID)`; row is y."""
    steps = torch.linspace(0.03, 0.97, GRID)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    states = state.expand(GRID, GRID, -1).clone()
    states[..., 0], states[..., 1] = x, y
    codes = kit.dynamics.read(kit.world.observe(states))
    goal = kit.dynamics.read(kit.world.observe(kit.world.goal(state[None])))
    return (codes - goal).square().mean(-1)


@torch.no_grad()
def over_directions(plan: Plan, hx: Tensor, hy: Tensor) -> Tensor:
    """The energy of doing the same action throughout, `(GRID, GRID)`; row is the action's y."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, GRID)] * 2, indexing="ij")
    z = torch.stack([x, y], -1)[:, :, None].expand(-1, -1, plan.horizon, -1)
    return plan.cost(hx[:, None], hy[:, None], z)


@torch.no_grad()
def between(plan: Plan, hx: Tensor, hy: Tensor, along: Tensor, across: Tensor) -> Tensor:
    """The energy of `a along + b across`, a and b from -0.25 to 1.25, `(GRID, GRID)`; row is b."""
    b, a = torch.meshgrid(*[torch.linspace(-0.25, 1.25, GRID)] * 2, indexing="ij")
    z = (a[..., None, None] * along + b[..., None, None] * across).clamp(-1, 1)
    return plan.cost(hx[:, None], hy[:, None], z)


@torch.no_grad()
def film(kit: Kit, world: TwoRooms, agent: ModelPredictiveControl, state: Tensor) -> dict[str, Tensor]:
    """Positions `(T + 1, 2)`, and those that each plan imagined `(T, HORIZON, 2)`, of an episode that is played."""
    agent.begin()
    states, goal = state[None], world.observe(world.goal(state[None]))
    way, imagined = [states[0, :2]], []
    for _ in range(world.episode):
        seen = world.observe(states)
        action = agent.act(seen, goal)
        plan: Any = agent.actions
        imagined.append(kit.where(agent.plan.dynamics.rollout(agent.plan.dynamics.read(seen), plan))[0])
        states = world.step(states, action)
        way.append(states[0, :2])
    return {"way": torch.stack(way), "imagined": torch.stack(imagined)}


def _telling(played: Played) -> int:
    """An episode that touches the hazard and reaches the goal, if there is one, and begins and ends far from it."""
    middle = torch.tensor(HAZARD[:2])
    first = played.states[:, 0]
    far = torch.minimum((first[:, :2] - middle).norm(dim=-1), (first[:, 2:4] - middle).norm(dim=-1))
    return int((far + played.violated.float() + played.reached.float()).argmax())


def pictures(kit: Kit, margins: dict[float, float], seed: int, path: Path) -> None:
    """Write them all to an .npz file."""
    beside = guarded(kit, margins)[0]
    world = beside[0]
    played = play(world, beside[1]["guard_none"](), EPISODES, seed)
    state = played.states[_telling(played), 0]
    plan = kit.plan()
    control = ModelPredictiveControl(plan, *descent(8, 60))
    hx, hy = plan.encode(world.observe(state[None]), world.observe(world.goal(state[None])))
    answer = control.infer(plan, hx, hy, plan.latent(hx, hy))
    tried: Any = answer.starts
    straight = ((state[2:4] - state[:2]) / (HORIZON * world.limit)).clamp(-1, 1).expand(HORIZON, 2)
    ways = {name: film(kit, world, beside[1][name](), state) for name in ("guard_none", "guard_hard_0.99")}
    with torch.no_grad():
        restarts = kit.where(plan.imagine(hx, tried.z).codes)[:, 0]
    found = {
        "state": state,
        "hazard": torch.tensor(HAZARD),
        "margin": torch.tensor(margins[0.99]),
        "places": over_places(kit, state),
        "directions": over_directions(plan, hx, hy),
        "between": between(plan, hx, hy, answer.z[0], straight),
        "restarts": restarts,
        "restart_energies": tried.energy[:, 0],
        "played": played.states[..., :2],
        **{f"{name}_{key}": value for name, each in ways.items() for key, value in each.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: value.detach().numpy() for name, value in found.items()})
