"""Model-predictive control: plan, do the first of it, look, plan again."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from ebm.augmented_lagrangian import AugmentedLagrangian
from ebm.constrained import ConstrainedMinimum, Values
from ebm.constraints import Box, Constraint
from ebm.energies.collocation import Collocation
from ebm.energies.plan import Plan
from ebm.minimize import Minimum, Restarts, minimize
from ebm.planning.agent import Agent
from ebm.solve import Status
from ebm.solvers.solver import Solver

BOX = Box(-1.0, 1.0)
"""Where actions of worlds are."""


@final
class ModelPredictiveControl(Agent):
    """Infers the actions of a `Plan` by any solver, does the first `every` of them, and infers again.

    All episodes are planned for in one batch. A plan begins where the one before it was going to be: `warm`. `within`
    keeps actions where they may be, to the last bit. The luck of a plan that has `draws` is drawn anew for each.

    Where the plan has guardrails they are kept by an augmented Lagrangian, `hard`, whose rounds the solver takes; where
    no plan that was found keeps them, the least violating one is done, and `infeasible` counts it; the first time a
    RuntimeWarning says so.

    A `Collocation` of the plan makes unknowns of its codes too. It is soft in the dynamics, by its weight, and exact
    where `hard` is given or the plan has guardrails.

    Raises FloatingPointError before anything is done where the model makes NaN of what it sees, or of every plan.
    """

    def __init__(
        self,
        plan: Plan | Collocation,
        solver: Solver,
        restarts: int | Restarts = 1,
        every: int = 1,
        warm: bool = True,
        within: Constraint | None = BOX,
        hard: AugmentedLagrangian | None = None,
    ) -> None:
        self.collocation = plan if isinstance(plan, Collocation) else None
        plan = plan.plan if isinstance(plan, Collocation) else plan
        if not 1 <= every <= plan.horizon:
            raise ValueError(f"of a plan of {plan.horizon} actions 1 to {plan.horizon} can be done, not {every}")
        self.plan, self.solver, self.restarts = plan, solver, restarts
        self.every, self.warm, self.within = every, warm, within
        self.hard = hard or AugmentedLagrangian(solver, rounds=5)
        self.exactly = hard is not None or len(plan.guardrails) > 0
        self.begin()

    @property
    def sees_states(self) -> bool:  # type: ignore[override]
        """Whether the model does."""
        return self.plan.dynamics.sees_states

    def begin(self) -> None:
        super().begin()
        self.actions: Tensor | None = None  # (episodes, horizon, actions), the first `done` of which were done
        self.done, self.plans = 0, 0

    def act(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        if self.actions is None or self.done == self.every or len(self.actions) != len(seen):
            self.actions, self.done = self._planned(seen, goal), 0
        self.done += 1
        return self.actions[:, self.done - 1]

    @torch.no_grad()
    def _planned(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        if goal is not None and len(goal) not in (1, len(seen)):
            raise ValueError(
                f"a goal for each of {len(seen)} episodes, or one for all of them, but these are {len(goal)}"
            )
        plan = self.plan.configured(seed=self.plan.seed + self.plans) if self.plan.draws else self.plan
        hx, hy = plan.encode(seen, goal)
        check_codes(hx, hy)
        answer = self.infer(plan, hx, hy, self._start(plan, hx, hy))
        self.plans += 1
        self.evaluations += float(answer.evaluations.double().mean())
        if bool((bad := ~answer.energy.isfinite()).any()):
            raise FloatingPointError(
                f"the energy of every plan that was tried is not finite in {int(bad.sum())} of {len(bad)} episodes"
                f" ({Status.NOT_FINITE.advice}): is the model trained, and are its inputs what it was trained on?"
            )
        return answer.z

    def infer(self, plan: Plan, hx: Tensor, hy: Tensor | None, start: Tensor) -> Minimum:
        """The plan of lowest energy for codes of what is seen and wanted, each episode by itself."""
        given = (hx,) if hy is None else (hx, hy)
        if self.collocation is not None:
            return self._collocated(self.collocation, start, given)
        if plan.guardrails:
            return self._kept(plan, start, given)

        def energy(z: Tensor, hx: Tensor, hy: Tensor | None = None) -> Tensor:
            return plan.cost(hx, hy, z)

        return minimize(energy, start, self.solver, given=given, within=self.within, restarts=self.restarts)

    def _kept(self, plan: Plan, start: Tensor, given: tuple[Tensor, ...]) -> Minimum:
        """The same under guardrails; counts the episodes that have no plan which keeps to them."""

        def judged(z: Tensor, hx: Tensor, hy: Tensor | None = None) -> Values:
            return *plan.judged(hx, hy, z), None

        return self._counted(
            self.hard.minimize_together(judged, start, given=given, within=self.within, restarts=self.restarts)
        )

    def _collocated(self, collocation: Collocation, start: Tensor, given: tuple[Tensor, ...]) -> Minimum:
        """The actions of a collocation, which begins at what comes of the actions in `start`."""

        def energy(z: dict[str, Tensor], hx: Tensor, hy: Tensor | None = None) -> Tensor:
            return collocation.cost(hx, hy, z)

        z, within = collocation.start(given[0], start), {"actions": self.within, "codes": None}
        if self.exactly:
            kept = self.hard.minimize_together(
                collocation.together, z, given=given, within=within, restarts=self.restarts
            )
            answer = self._counted(kept)
        else:
            answer = minimize(energy, z, self.solver, given=given, within=within, restarts=self.restarts)
        return replace(answer, z=answer.z["actions"])

    def _counted(self, kept: ConstrainedMinimum) -> Minimum:
        """The answer, once it is counted who has none that keeps to what it must."""
        lacking = (~kept.feasible).long()
        before = self.infeasible
        if bool(lacking.any()) and (before is None or not bool(before.any())):
            warnings.warn(
                f"no plan was found that keeps to its guardrails in {int(lacking.sum())} of {len(lacking)} episodes,"
                " and the least violating one is done there; `infeasible` counts them from now on",
                RuntimeWarning,
                stacklevel=2,
            )
        self.infeasible = lacking if before is None or before.shape != lacking.shape else before + lacking
        return kept.minimum

    def _start(self, plan: Plan, hx: Tensor, hy: Tensor | None) -> Tensor:
        """Zero, or what is left of the plan before, and zeros after it."""
        start = plan.latent(hx, hy)
        if not self.warm or self.actions is None or self.actions.shape != start.shape:
            return start
        left = self.actions[:, self.done :]
        return torch.cat([left, left.new_zeros(left.shape[0], self.done, left.shape[2])], 1)


def check_codes(hx: Tensor, hy: Tensor | None) -> None:
    """Raises FloatingPointError where codes of what is seen, or of the goal, are not finite."""
    for name, codes in (("what is seen", hx), ("the goal", hy)):
        if codes is not None and bool((bad := ~codes.isfinite().all(-1)).any()):
            raise FloatingPointError(
                f"the model makes codes of {name} that are not finite in {int(bad.sum())} of {len(bad)} episodes: is it"
                " trained, and are observations from 0 to 1 as in its training?"
            )
