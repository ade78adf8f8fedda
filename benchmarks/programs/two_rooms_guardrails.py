"""The same with a hazard near the door, which no model was shown: where it is, plans are told as a guardrail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from two_rooms_agents import Kit, descent

from ebm.augmented_lagrangian import AugmentedLagrangian
from ebm.energies import GoalDistance, Guardrail
from ebm.planning import Agent, ModelPredictiveControl, conformal_margin
from ebm.worlds import TwoRooms, Wander, simulate

HAZARD = (0.5, 0.22, 0.06)  # middle and radius: it leaves more than half of the door, whose middle is at 0.3
OVER_THE_DOOR = (0.5, 0.3, 0.16)
NEAR = 0.25  # how near the hazard a step begins that margins are chosen by
WALKS, AT = 8000, 6  # walks at random, and the step of each that counts
LEVELS = (0.9, 0.99)
BUDGET = (4, 10)
ROUNDS = 3
WEIGHT = 1000.0  # of the first round: heavy enough to count where restarts are compared


def excess(kit: Kit, hazard: tuple[float, float, float]) -> Callable[[Tensor], Tensor]:
    """How far inside the hazard a code is, by the probe, `(*batch, features) -> (*batch,)`."""
    *middle, radius = hazard
    return lambda codes: radius - (kit.where(codes) - codes.new_tensor(middle)).norm(dim=-1)


@torch.no_grad()
def surprises(kit: Kit, seed: int) -> Tensor:
    """By how much a step from near the hazard came nearer to it than was imagined, `(n,)`, one for each walk.

    The way counts from the middle of the step to the middle of one more like it, so that none of it is left out.
    """
    walks = simulate(replace(kit.world, anywhere=True), Wander(), WALKS, AT + 1, torch.Generator().manual_seed(seed))
    middle = torch.tensor(HAZARD[:2])
    near = (walks.states[:, AT, :2] - middle).norm(dim=-1) < NEAR
    before, after, action = walks.states[near, AT], walks.states[near, AT + 1], walks.actions[near, AT]
    code = kit.dynamics.step(kit.dynamics.read(kit.world.observe(before)), action)
    again = kit.world.step(after, action)
    way = torch.cat([_between(before, after, 0.5, 1.0), _between(after, again, 0.0, 0.5)], 1)
    return (HAZARD[2] - (way - middle).norm(dim=-1)).amax(1) - excess(kit, HAZARD)(code)


def _between(start: Tensor, end: Tensor, low: float, high: float) -> Tensor:
    """Places on the straight way, `(n, 5, 2)`."""
    share = torch.linspace(low, high, 5)[:, None]
    return start[:, None, :2] + share * (end - start)[:, None, :2]


def margins(kit: Kit, seed: int) -> tuple[dict[float, float], dict[str, float]]:
    """Margins by level, and how often they held on as many walks that they were not chosen by."""
    chosen_by, checked_on = (surprises(kit, 2 * seed + part + 10**6) for part in (0, 1))
    found = {level: conformal_margin(chosen_by, level) for level in LEVELS}
    numbers = {"margin/walks": float(len(chosen_by))}
    for level, margin in found.items():
        numbers[f"margin/{level}"] = margin
        numbers[f"margin/held_{level}"] = float((checked_on <= margin).double().mean())
    return found, numbers


def guarded(kit: Kit, found: dict[float, float]) -> list[tuple[TwoRooms, dict[str, Callable[[], Agent]]]]:
    """Worlds with the hazard, and what plays there."""
    beside, covered = (replace(kit.world, hazard=hazard) for hazard in (HAZARD, OVER_THE_DOOR))
    last = found[LEVELS[-1]]

    def soft(weight: float, margin: float) -> Callable[[], Agent]:
        costs = GoalDistance() + weight * Guardrail(excess(kit, HAZARD), margin)
        return lambda: ModelPredictiveControl(kit.plan(costs=costs), *descent(*BUDGET))

    def hard(hazard: tuple[float, float, float], margin: float) -> Callable[[], Agent]:
        plan = kit.plan().configured(guardrails=[Guardrail(excess(kit, hazard), margin)])
        solver, restarts = descent(*BUDGET)
        kept = AugmentedLagrangian(solver, rounds=ROUNDS, weight=WEIGHT)
        return lambda: ModelPredictiveControl(plan, solver, restarts, hard=kept)

    agents: dict[str, Callable[[], Agent]] = {
        "guard_none": lambda: ModelPredictiveControl(kit.plan(), *descent(*BUDGET)),
        "guard_soft_100": soft(100.0, 0.0),
        f"guard_soft_100_{LEVELS[-1]}": soft(100.0, last),
        "guard_hard": hard(HAZARD, 0.0),
    }
    for level, margin in found.items():
        agents[f"guard_hard_{level}"] = hard(HAZARD, margin)
    return [(beside, agents), (covered, {"covered_hard": hard(OVER_THE_DOOR, last)})]
