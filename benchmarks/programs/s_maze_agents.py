"""What acts in the S-maze: references that know the truth, flat planners of several budgets, and hierarchies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, final

import torch
from s_maze_models import WORLD
from torch import Tensor
from two_rooms_agents import descent, search, straight_on

from ebm import MPPI, CrossEntropyMethod, Restarts
from ebm.energies import GoalDistance, HierarchicalJEPA, Level, Plan, SeenFromAbove, WorldModel
from ebm.planning import Agent, Following, HierarchicalControl, ModelPredictiveControl
from ebm.worlds import Uniform, World

AHEAD = 30  # steps of the world that the highest level of a hierarchy looks ahead
STEPS_AHEAD = 6  # of the lowest
WAYS = 32  # directions that an oracle tries
BUDGETS = {"gd": (4, 10), "cem": (64, 4), "mppi": (64, 4)}

Agents = dict[str, Callable[[], Agent]]


def downhill(world: World, states: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """A policy: of steps all around, at full and half speed, the one whose end is nearest by the way through doors."""
    angles = torch.arange(WAYS, device=states.device) * (2 * torch.pi / WAYS)
    ways = torch.stack([angles.cos(), angles.sin()], -1)
    ways = torch.cat([ways / ways.abs().amax(-1, keepdim=True) * speed for speed in (1.0, 0.5, 0.0)])
    left = WORLD.distance(world.step(states[..., None, :], ways))
    return ways[left.argmin(-1)]


@final
class Guided(Agent):
    """The lowest level alone, which is told a true place on the shortest way, so many steps ahead: a ceiling."""

    sees_states: ClassVar[bool] = True

    def __init__(self, control: ModelPredictiveControl, ahead: int = STEPS_AHEAD) -> None:
        self.control, self.ahead = control, ahead
        self.begin()

    def begin(self) -> None:
        super().begin()
        self.control.begin()

    def act(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        place = seen
        for _ in range(self.ahead):
            place = WORLD.step(place, downhill(WORLD, place))
        actions = self.control.act(WORLD.observe(seen), WORLD.observe(place))
        self.evaluations = self.control.evaluations
        return actions


@final
class SlowGoal(Agent):
    """A flat planner that is lent the codes of the level above to tell how far the goal is."""

    def __init__(self, level: Level, control: ModelPredictiveControl) -> None:
        self.level, self.control = level, control
        self.begin()

    def begin(self) -> None:
        super().begin()
        self.actions: Tensor | None = None

    @torch.no_grad()
    def act(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        plan = self.control.plan
        hx, hy = plan.encode(seen, goal)
        assert hy is not None
        start = plan.latent(hx, hy)
        if self.actions is not None:
            start = torch.cat([self.actions[:, 1:], start[:, :1]], 1)
        answer = self.control.infer(plan, hx, self.level.encoder(hy), start)
        self.evaluations += float(answer.evaluations.double().mean())
        self.actions = answer.z
        return answer.z[:, 0]


@final
class Shuffled(Agent):
    """An agent whose controllers draw other candidates, or other restarts, each time that they plan.

    Where a model is wrong about a wall a plan goes nowhere, and is made again from the same place: with the same draws
    it would be the same plan, for ever.
    """

    def __init__(self, agent: Agent, controls: Sequence[ModelPredictiveControl]) -> None:
        self.agent, self.controls = agent, controls
        self.begin()

    @property
    def sees_states(self) -> bool:  # type: ignore[override]
        """Whether the agent does."""
        return self.agent.sees_states

    def begin(self) -> None:
        self.agent.begin()
        super().begin()
        self.time = 0

    def act(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        self.time += 1
        for control in self.controls:
            if isinstance(control.solver, CrossEntropyMethod | MPPI):
                control.solver = replace(control.solver, seed=self.time)
            if isinstance(control.restarts, Restarts):
                control.restarts = replace(control.restarts, seed=self.time)
        actions = self.agent.act(seen, goal)
        self.evaluations = self.agent.evaluations
        return actions


@dataclass(frozen=True)
class Kit:
    """What agents are made of: the model of single steps, and hierarchies on it by name."""

    model: WorldModel
    ladders: dict[str, HierarchicalJEPA]

    def plan(self, horizon: int) -> Plan:
        """A flat plan."""
        return Plan(self.model.dynamics, GoalDistance(), horizon, WORLD.actions)

    def slow(self, horizon: int) -> tuple[Level, Plan]:
        """A flat plan whose end the level above looks at, and that level."""
        level = self.ladders["two"].levels[0]
        assert isinstance(level, Level)
        return level, self.plan(horizon).configured(costs=SeenFromAbove(GoalDistance(), level))


def references(kit: Kit) -> Agents:
    """The floor, what goes straight on, what knows the way, and a low level that is told it."""
    told = ModelPredictiveControl(kit.plan(STEPS_AHEAD), *descent(4, 10))
    return {
        "random": lambda: Following(WORLD, Uniform()),
        "greedy": lambda: Following(WORLD, straight_on),
        "oracle": lambda: Following(WORLD, downhill),
        "told_the_way": lambda: Shuffled(Guided(told), [told]),
    }


def flat_planner(plan: Plan, kind: str, first: int, second: int) -> Agent:
    """Descent with so many restarts and steps, or a search with so many candidates and steps."""
    solver, restarts = descent(first, second) if kind == "gd" else (search(kind, first, second), 1)
    control = ModelPredictiveControl(plan, solver, restarts)
    return Shuffled(control, [control])


def lent_planner(kit: Kit, horizon: int, kind: str, first: int, second: int) -> Agent:
    """The same, lent the codes of the level above."""
    level, plan = kit.slow(horizon)
    solver, restarts = descent(first, second) if kind == "gd" else (search(kind, first, second), 1)
    control = ModelPredictiveControl(plan, solver, restarts)
    return Shuffled(SlowGoal(level, control), [control])


def flat(kit: Kit) -> Agents:
    """Planners of single steps, in codes of the lowest level: kind, horizon, budget."""
    asked = [(kind, horizon, *BUDGETS[kind]) for horizon in (6, 15, 30) for kind in ("gd", "cem")]
    asked += [("mppi", 15, *BUDGETS["mppi"]), ("gd", 15, 8, 20)]
    return {
        f"flat_{kind}_{first}x{second}_h{horizon}": partial(flat_planner, kit.plan(horizon), kind, first, second)
        for kind, horizon, first, second in asked
    }


def lent(kit: Kit) -> Agents:
    """Flat planners with the metric of the level above."""
    asked = [(15, "gd", *BUDGETS["gd"]), (30, "cem", *BUDGETS["cem"])]
    return {
        f"lent_{kind}_{first}x{second}_h{horizon}": partial(lent_planner, kit, horizon, kind, first, second)
        for horizon, kind, first, second in asked
    }


def control(
    hierarchy: HierarchicalJEPA,
    low: tuple[str, int, int] = ("cem", 32, 3),
    top: tuple[int, int] = (96, 5),
) -> HierarchicalControl:
    """Search at the upper levels, and search or descent at the lowest, each over the time of one step above."""
    highest = len(hierarchy.levels)
    kind, *budget = low
    tiers = []
    for k in range(highest + 1):
        ahead = AHEAD if k == highest else hierarchy.span(k + 1)
        plan = hierarchy.plan(k, max(2, round(ahead / hierarchy.span(k))))
        solver: tuple[Any, ...] = (search("cem", *(top if k == highest else (32, 3))),)
        if k == 0:
            solver = descent(*budget) if kind == "gd" else (search(kind, *budget),)
        tiers.append(ModelPredictiveControl(plan, *solver))
    return HierarchicalControl(hierarchy, tiers)


def shuffled(agent: HierarchicalControl) -> Agent:
    """With other draws each time, at all levels."""
    return Shuffled(agent, agent.tiers)


def hierarchies(kit: Kit) -> Agents:
    """Hierarchies, each on its own ladder of levels or with its own budget."""
    made: Agents = {
        f"hierarchy_{name}": lambda on=ladder: shuffled(control(on)) for name, ladder in kit.ladders.items()
    }
    if "two" in kit.ladders:
        two = kit.ladders["two"]
        made["hierarchy_two_gd"] = lambda: shuffled(control(two, ("gd", 4, 10)))
        made["hierarchy_two_cheap"] = lambda: shuffled(control(two, ("cem", 24, 2), (48, 3)))
    return made
