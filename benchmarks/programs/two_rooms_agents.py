"""What acts in two rooms: references that know the truth, one that was cloned, and planners of several budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast, final

import torch
from torch import Tensor, nn

from ebm import LBFGS, MPPI, Adam, CrossEntropyMethod, ImprovedCrossEntropy, Restarts
from ebm.energies import Cost, GoalDistance, Imagined, LearnedDynamics, Plan
from ebm.energies.collocation import Collocation
from ebm.planning import Agent, Following, GoalConditionedCloning, ModelPredictiveControl, TrueDynamics
from ebm.solvers.solver import Solver
from ebm.worlds import TwoRooms, Uniform, World

HORIZON = 16
SPREAD = 0.7  # of restarts
WIDE = 2.0  # deviation of candidates: most are on the box's edge, which does better than 1, and for iCEM 1 than 0.5
DESCENTS = ((2, 10), (4, 10), (8, 20))  # restarts, steps
SEARCHES = ((64, 2), (64, 4))  # candidates, steps


@dataclass(frozen=True)
class Kit:
    """What agents are made of."""

    world: TwoRooms
    dynamics: LearnedDynamics
    where: nn.Module
    """The probe, from codes to positions."""
    cloned: GoalConditionedCloning

    def plan(self, horizon: int = HORIZON, costs: Cost | None = None) -> Plan:
        """Plans through the model."""
        return Plan(self.dynamics, costs or GoalDistance(), horizon, self.world.actions)


@final
class Straight(Cost):
    """Sum over the plan of how far the goal is, as the crow flies; of states."""

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        """`(*batch,)`."""
        return (imagined.codes[..., :2] - imagined.codes[..., 2:4]).norm(dim=-1).sum(-1)


@final
class Shortest(Cost):
    """The same through the door."""

    def __init__(self, world: TwoRooms) -> None:
        super().__init__()
        self.world = world

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        """`(*batch,)`."""
        return self.world.distance(imagined.codes).sum(-1)


def straight_on(world: World, states: Tensor, generator: torch.Generator) -> Tensor:
    """A policy: straight to the goal, which is known."""
    return ((states[..., 2:4] - states[..., :2]) / cast(TwoRooms, world).limit).clamp(-1, 1)


def descent(restarts: int, steps: int) -> tuple[Solver, Restarts]:
    """Gradient descent through the model."""
    return Adam(rate=0.5, steps=steps, tolerance=0), Restarts(restarts, SPREAD)


def search(kind: str, population: int, steps: int) -> Solver:
    """Search by a population."""
    elites = max(2, population // 8)
    if kind == "cem":
        return CrossEntropyMethod(population, elites, WIDE, smoothing=0.0, steps=steps, tolerance=0)
    if kind == "icem":
        return ImprovedCrossEntropy(population, elites, deviation=WIDE / 2, steps=steps, tolerance=0)
    return MPPI(population, deviation=WIDE, decay=0.8, steps=steps, tolerance=0)


def references(kit: Kit) -> dict[str, Callable[[], Agent]]:
    """The floor, what knows where it is, and what knows how the world goes on: each made when it is called."""
    known = Plan(TrueDynamics(kit.world), Shortest(kit.world), horizon=8, actions=kit.world.actions)
    return {
        "random": lambda: Following(kit.world, Uniform()),
        "greedy": lambda: Following(kit.world, straight_on),
        "oracle_geodesic": lambda: ModelPredictiveControl(known, search("cem", 64, 3)),
        "oracle_straight": lambda: ModelPredictiveControl(known.configured(costs=Straight()), search("cem", 64, 3)),
        "cloning": lambda: kit.cloned,
    }


def planners(kit: Kit) -> dict[str, Callable[[], Agent]]:
    """Planners through the model, each with several budgets."""
    control = ModelPredictiveControl
    long = kit.plan()
    made: dict[str, Callable[[], Agent]] = {}
    for budget in DESCENTS:
        made["gd_{}x{}_h16".format(*budget)] = partial(control, long, *descent(*budget))
    made["gd_4x10_h8"] = partial(control, kit.plan(8), *descent(4, 10))
    for kind in ("cem", "icem", "mppi"):
        for budget in SEARCHES:
            made["{}_{}x{}_h16".format(kind, *budget)] = partial(control, long, search(kind, *budget))
    made["lbfgs_4x10_h16"] = partial(control, long, LBFGS(steps=10, tolerance=0), Restarts(4, SPREAD))
    made["collocation_1x40_h16"] = partial(control, Collocation(long, 100.0), LBFGS(steps=40, tolerance=0))
    return made
