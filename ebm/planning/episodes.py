"""Many episodes of an agent in a world, side by side."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from rich.progress import track
from statsmodels.stats.proportion import proportion_confint
from torch import Tensor

from ebm.planning.agent import Agent
from ebm.worlds.environment import wants
from ebm.worlds.world import World


@dataclass(frozen=True)
class Played:
    """What became of N episodes."""

    states: Tensor
    """`(N, steps + 1, features)`; a state that has ended stays."""
    actions: Tensor
    """What was done, `(N, steps, actions)`, as the agent asked for it."""
    reached: Tensor
    """Whether the goal was reached at some time, `(N,)`."""
    at_goal: Tensor
    """Whether it was at the end, `(N,)`."""
    violated: Tensor
    """Whether something happened that must not, `(N,)`."""
    steps: Tensor
    """Steps until the goal was reached first, or the episode ended, `(N,)`."""
    outside: Tensor
    """How many actions were outside of the world's box, `(N,)`."""
    infeasible: Tensor
    """How many plans of each broke their guardrails since none that was found keeps them, `(N,)`."""
    evaluations: float
    """Plans that a model was asked about, for each action."""
    seconds: float
    """CPU seconds of the agent for each action of each episode."""


def wilson(successes: Tensor) -> tuple[float, float, float]:
    """The share of successes, and Wilson's 95 % interval (Wilson 1927)."""
    count, total = int(successes.sum()), successes.numel()
    low, high = proportion_confint(count, total, 0.05, "wilson")
    return count / total, float(low), float(high)


@torch.no_grad()
def play(
    world: World,
    agent: Agent,
    episodes: int,
    seed: int = 0,
    start: Tensor | None = None,
    progress: bool = False,
    device: torch.device | str = "cpu",
) -> Played:
    """Play episodes from where the world begins, the same ones for a seed, or from `start` (episodes, features).

    The agent sees observations and a picture of the goal, or states if it `sees_states`. It is asked about episodes
    that have ended too, so that batches keep their shape, but what it says then changes nothing. `progress` shows a
    bar.

    Raises ValueError where the agent's actions are not `(episodes, world.actions)`, or are not numbers.
    """
    generator = torch.Generator(device).manual_seed(seed)
    states = world.start(episodes, generator) if start is None else start
    seen, done, spent = [states], [], 0.0
    agent.begin()
    for _ in track(range(world.episode), "playing", disable=not progress):
        goal = _goal(world, states, agent.sees_states)
        shown = states if agent.sees_states else world.observe(states)
        began = time.process_time()
        actions = agent.act(shown, goal)
        spent += time.process_time() - began
        _check_actions(world, actions, states)
        states = world.step(states, actions, world.noise(states, generator))
        seen.append(states)
        done.append(actions)
    return _played(world, torch.stack(seen, 1), torch.stack(done, 1), agent, spent)


def _played(world: World, states: Tensor, actions: Tensor, agent: Agent, spent: float) -> Played:
    times = actions.shape[1]
    reached, ended = world.succeeded(states), world.ended(states)
    over = reached | ended
    first = torch.where(over.any(1), over.long().argmax(1), times)
    return Played(
        states=states,
        actions=actions,
        reached=reached.any(1),
        at_goal=reached[:, -1],
        violated=world.violated(states).any(1),
        steps=first,
        outside=(actions.abs() > 1).any(-1).sum(1),
        infeasible=torch.zeros_like(first) if agent.infeasible is None else agent.infeasible,
        evaluations=agent.evaluations / times,
        seconds=spent / (times * len(states)),
    )


def _goal(world: World, states: Tensor, as_states: bool) -> Tensor | None:
    if not wants(world):
        return None
    goal = world.goal(states)
    return goal if as_states else world.observe(goal)


def _check_actions(world: World, actions: Tensor, states: Tensor) -> None:
    if actions.shape != (len(states), world.actions) or not bool(actions.isfinite().all()):
        raise ValueError(
            f"an agent in {type(world).__name__} gives finite actions ({len(states)}, {world.actions}), got"
            f" {tuple(actions.shape)} of which {int((~actions.isfinite()).sum())} are not finite"
        )
