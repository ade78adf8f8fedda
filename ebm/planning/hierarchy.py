"""Control by a hierarchy: what a level expects after its first step is the goal of the level below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast, final

import torch
from torch import Tensor

from ebm.energies.costs import Cost, Imagined
from ebm.energies.hierarchical import HierarchicalJEPA, Level, SeenFromAbove
from ebm.planning.agent import Agent
from ebm.planning.mpc import ModelPredictiveControl, check_codes


@final
class Nearer(Cost):
    """A cost of what the level above sees, or of what a level sees itself: the goal tells both goals, and which."""

    def __init__(self, above: Cost, features: int) -> None:
        super().__init__()
        self.above, self.features = above, features
        self.own = above.inner if isinstance(above, SeenFromAbove) else above

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        assert goal is not None  # a controller gives one
        own, above, near = goal[..., : self.features], goal[..., self.features : -1], goal[..., -1]
        return torch.where(near > 0, self.own(imagined, own), self.above(imagined, above))


@final
class HierarchicalControl(Agent):
    """Plans at the highest level, and what that expects after its first step is the goal of the level below; and so on.

    `tiers` are controllers of plans `model.plan(k, ...)`, the lowest first, each with a solver of its own. Level k
    plans again every `every[k]` steps of the world, by default half of the time that one of its steps takes; it begins
    at its plan before, less what is over of it. Where the goal itself is nearer than the one from above, by the share
    `near` of its squared distance as the level above sees both, it is taken instead, in codes of the level's own.

    All episodes are planned for in one batch at each level. `evaluations` counts the plans of all levels.

    Raises ValueError unless there is a controller and a time for each level, and FloatingPointError where the model
    makes NaN of what it sees.
    """

    def __init__(
        self,
        model: HierarchicalJEPA,
        tiers: Sequence[ModelPredictiveControl],
        every: Sequence[int] | None = None,
        near: float = 1.0,
    ) -> None:
        count = len(model.levels) + 1
        every = [max(1, model.span(k) // 2) for k in range(count)] if every is None else list(every)
        if len(tiers) != count or len(every) != count:
            raise ValueError(
                f"a hierarchy of {count} levels has as many controllers and times, the lowest first, not {len(tiers)}"
                f" controllers and {len(every)} times"
            )
        if min(every) < 1 or every[0] > tiers[0].plan.horizon:
            raise ValueError(
                f"levels plan again after 1 step or more, the lowest after {tiers[0].plan.horizon} of its plan at most,"
                f" not {every}"
            )
        if any(tier.collocation is not None for tier in tiers):
            raise ValueError("a level plans by its actions alone, not by a Collocation of them and of codes")
        if not near >= 0:
            raise ValueError(f"near is a share of a squared distance, of at least 0, not {near}")
        self.model, self.tiers, self.every, self.near = model, list(tiers), every, near
        self.begin()

    def begin(self) -> None:
        super().begin()
        self.time, self.asked = 0, 0.0
        self.actions: list[Tensor | None] = [None] * len(self.tiers)
        """The plans of the levels, `(episodes, horizon, actions)`."""
        self.subgoals: list[Tensor | None] = [None] * len(self.tiers)
        """What each level expects after its first step, `(episodes, features)` in its codes."""

    @torch.no_grad()
    def act(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        if goal is None:
            raise ValueError("a hierarchy goes from goal to goal: give a picture of the last one")
        codes, goals = self._codes(seen), self._codes(goal.expand_as(seen))
        check_codes(codes[0], goals[0])
        if self.actions[0] is not None and len(self.actions[0]) != len(seen):
            self.begin()
        for k in reversed(range(len(self.tiers))):
            if self.time % self.every[k] == 0:
                self._plan(k, codes, goals)
        done, actions = self.time % self.every[0], self.actions[0]
        self.evaluations = self.asked / len(seen)
        self.time += 1
        assert actions is not None  # the lowest level planned at the first step
        return actions[:, done]

    def _codes(self, seen: Tensor) -> list[Tensor]:
        """What every level sees, the lowest first."""
        codes = [self.model.dynamics.read(seen)]
        for level in self.model.levels:
            codes.append(cast(Level, level).encoder(codes[-1]))
        return codes

    def _plan(self, k: int, codes: list[Tensor], goals: list[Tensor]) -> None:
        """Plan at level k, for all episodes, to the goal or to what the level above expects first."""
        plan = self.tiers[k].plan
        start = self._start(k, codes[k])
        above, aims = None if k + 1 == len(self.tiers) else self.subgoals[k + 1], goals[k]
        if above is not None:
            away, left = (_apart(point, codes[k + 1]) for point in (above, goals[k + 1]))
            near = (left < self.near * away).to(aims)
            aims = torch.cat([aims, above, near[:, None]], -1)
            plan = plan.configured(costs=Nearer(plan.costs, goals[k].shape[-1]))
        answer = self.tiers[k].infer(plan, codes[k], aims, start)
        self.asked += float(answer.evaluations.double().sum())
        self.actions[k], self.subgoals[k] = answer.z, plan.dynamics.step(codes[k], answer.z[:, 0])

    def _start(self, k: int, codes: Tensor) -> Tensor:
        """Zero, or what is left of the plan before, and zeros after it."""
        plan, before = self.tiers[k].plan, self.actions[k]
        if before is None or not self.tiers[k].warm:
            return codes.new_zeros(len(codes), plan.horizon, plan.actions)
        over = min(self.every[k] // self.model.span(k), plan.horizon)
        return torch.cat([before[:, over:], before.new_zeros(len(before), over, plan.actions)], 1)


def _apart(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean(-1)
