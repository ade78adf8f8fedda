"""Hard constraints `g(z) <= 0` and `h(z) = 0` of each sample, around any solver."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from ebm.adjoint import Detached
from ebm.constrained import ConstrainedMinimum, Found, Values, better, broken, choose, joined, largest
from ebm.constraints import Constraint
from ebm.layout import Tree
from ebm.minimize import EnergyFunction, Minimum, Restarts, pose, run
from ebm.problem import Problem
from ebm.solve import Status
from ebm.solvers.solver import Solver


@final
@dataclass(frozen=True)
class AugmentedLagrangian:
    """`min_z E(z)` with `g(z) <= 0` and `h(z) = 0`, by rounds of `min_z E + w/2 |max(0, g + u/w)|^2 + w/2 |h + v/w|^2`.

    After each round `u <- max(0, u + w g)` and `v <- v + w h`, kept within `bound`, and the weight `w` grows by
    `growth` where the round left more than the share `fall` of what was broken (Powell 1969, Hestenes 1969; Bertsekas
    1982; with these safeguards Birgin and Martínez 2014, algorithm 4.1). Each sample has its own `u`, `v` and `w`, and
    takes no further rounds once `max(g, -u/w)` and `h` are within the tolerance, so that its answer does not depend on
    the others. Each round starts where the one before ended.

    Where no round ends within the tolerance, a last one goes down `|max(0, g)|^2 + |h|^2` alone, to the z that violates
    them least; locally, as all that goes down does.
    """

    solver: Solver | None = None
    """What takes the rounds; unless given BFGS up to 16 features, and LBFGS above."""
    rounds: int = 20
    tolerance: float = 1e-4
    weight: float = 10.0
    growth: float = 10.0
    fall: float = 0.25
    heaviest: float = 1e8
    bound: float = 1e8

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError(f"an augmented Lagrangian takes at least 1 of its rounds, not {self.rounds}")
        for name in ("tolerance", "weight", "heaviest", "bound"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"the `{name}` is positive and finite, not {getattr(self, name)}")
        if not 1 < self.growth < math.inf or not 0 <= self.fall < 1:
            raise ValueError(
                f"weights grow by a `growth` above 1 where more than a `fall` from 0 to below 1 is left: {self}"
            )

    def minimize(
        self,
        fn: EnergyFunction,
        start: Tree,
        *,
        inequality: EnergyFunction | None = None,
        equality: EnergyFunction | None = None,
        given: tuple[Tree, ...] | None = None,
        within: Constraint | Any = None,
        restarts: int | Restarts = 1,
    ) -> ConstrainedMinimum:
        """`argmin fn(z, *given)` with `inequality(z, *given) <= 0` and `equality(z, *given) = 0` for every sample.

        These return `(*batch,)` or `(*batch, ...)`, as many numbers as there are constraints on a sample. `start`,
        `given`, `within` and `restarts`, which are those of the first round, are as in `ebm.minimize`.

        Raises ValueError as `ebm.minimize` does, and if a constraint does not return numbers for each sample.
        """

        def together(z: Tree, *given: Any) -> Values:
            return (
                fn(z, *given),
                None if inequality is None else inequality(z, *given),
                None if equality is None else equality(z, *given),
            )

        return self.minimize_together(together, start, given=given, within=within, restarts=restarts)

    @torch.no_grad()
    def minimize_together(
        self,
        together: Callable[..., Values],
        start: Tree,
        *,
        given: tuple[Tree, ...] | None = None,
        within: Constraint | Any = None,
        restarts: int | Restarts = 1,
    ) -> ConstrainedMinimum:
        """The same for a function that returns energy, inequalities and equalities at once: `E, g or None, h or None`.

        Where all three come from one pass through a model.
        """
        problem, rows = pose(lambda z, *given: together(z, *given)[0], start, given, within)
        return _Search(self, together, problem, restarts).solve(rows)


class _State(NamedTuple):
    """Where each sample stands between two rounds."""

    z: Tensor  # (N, D)
    multipliers: Tensor  # (N, m + k)
    weight: Tensor  # (N,)
    left: Tensor  # (N,): how far the last round was from what constraints and multipliers ask for
    running: Tensor  # (N,)
    steps: Tensor  # (N,)
    evaluations: Tensor  # (N,)
    found: Found


@dataclass(frozen=True)
class _Search:
    """The rounds of one call."""

    settings: AugmentedLagrangian
    together: Callable[..., Values]
    problem: Problem
    """That of the energy alone."""
    restarts: int | Restarts

    def solve(self, rows: Tensor) -> ConstrainedMinimum:
        """The answer from the rows `(N, D)`."""
        state, equal = self._begin(rows)
        for count in range(self.settings.rounds):
            if not bool(state.running.any()):
                break
            state = self._round(state, equal, self.restarts if count == 0 else 1)
        violation = largest(broken(state.found.values, equal))
        infeasible = violation.isfinite() & (violation > self.settings.tolerance)
        if bool(infeasible.any()):
            state = self._restored(state, equal, infeasible)
        return self._answer(state, equal)

    def _begin(self, rows: Tensor) -> tuple[_State, Tensor]:
        energy, values, equal = self._look(rows, torch.arange(len(rows), device=rows.device))
        running = energy.isfinite() & values.isfinite().all(-1)
        status = torch.where(running, int(Status.OUT_OF_STEPS), int(Status.NOT_FINITE))
        unknown, none = torch.full_like(energy, torch.nan), torch.zeros_like(values)
        found = Found(rows, energy, values, none, unknown, status)
        weight, left = torch.full_like(energy, self.settings.weight), torch.full_like(energy, torch.inf)
        steps = torch.zeros_like(status)
        return _State(rows, none, weight, left, running, steps, torch.ones_like(status), found), equal

    def _round(self, state: _State, equal: Tensor, restarts: int | Restarts) -> _State:
        """One minimisation for the samples that are still going, and what follows from it."""
        settings, index = self.settings, self._rows(state.running)
        z, answer = self._minimum(self._augmented, (state.multipliers, state.weight), state.z, index, restarts)
        energy, values, _ = self._look(z, index)
        multipliers, weight = state.multipliers[index], state.weight[index]
        # Zero where a constraint is met exactly, or holds and has no multiplier left.
        left = largest(torch.where(equal, values, torch.maximum(values, -multipliers / weight[:, None])))
        done, heavier = left <= settings.tolerance, left > settings.fall * state.left[index]
        after = (weight[:, None] * _shifted(values, multipliers, weight, equal)).clamp(-settings.bound, settings.bound)
        finite = energy.isfinite() & values.isfinite().all(-1)
        status = torch.where(~done & answer.converged, int(Status.OUT_OF_STEPS), answer.status)
        new = Found(z, energy, values, after, answer.gradient_norm, status)
        changed = _State(
            z=z,
            multipliers=torch.where(finite[:, None], after, multipliers),
            weight=torch.where(heavier, settings.growth * weight, weight).clamp_max(settings.heaviest),
            left=left,
            running=~done & finite & ~(heavier & (weight >= settings.heaviest)),
            steps=state.steps[index] + answer.steps,
            evaluations=state.evaluations[index] + answer.evaluations + 1,
            found=better(new, _pick(state.found, index), equal, settings.tolerance, done),
        )
        return _put(state, changed, index, state.running)

    def _restored(self, state: _State, equal: Tensor, infeasible: Tensor) -> _State:
        """Down what is broken alone, for samples without a feasible point."""
        index, found = self._rows(infeasible), state.found
        z, answer = self._minimum(self._violated, (), found.z, index, 1)
        energy, values, _ = self._look(z, index)
        before = _pick(found, index)
        new = before._replace(z=z, energy=energy, values=values, gradient_norm=torch.full_like(energy, torch.nan))
        was = _pick(state, index)
        changed = was._replace(
            steps=was.steps + answer.steps,
            evaluations=was.evaluations + answer.evaluations + 1,
            found=better(new, before, equal, self.settings.tolerance, torch.zeros_like(infeasible[index])),
        )
        return _put(state, changed, index, infeasible)

    def _rows(self, wanted: Tensor) -> Tensor:
        """Of which samples a minimisation is: those that are wanted, or all where the function holds them itself."""
        if self.problem.given is None:
            return torch.arange(len(wanted), device=wanted.device)
        return wanted.nonzero()[:, 0]

    def _minimum(
        self, fn: Callable[..., Tensor], held: tuple[Tensor, ...], z: Tensor, index: Tensor, restarts: int | Restarts
    ) -> tuple[Tensor, Minimum]:
        """The minimisers `(n, D)` of `fn(z, *held, *given)` for the samples in `index`, and how it went."""
        problem = self.problem
        if problem.given is None:
            held = tuple(part.reshape(*problem.layout.batch, *part.shape[1:]) for part in held)
            problem = replace(problem, fn=lambda z: fn(z, *held))
        else:
            given = (*(part[index] for part in held), *(problem.subset(index).given or ()))
            problem = replace(problem, fn=fn, given=given, layout=replace(problem.layout, batch=index.shape))
        answer = run(problem, z[index], self.settings.solver, Detached(), restarts)
        flat = {name: getattr(answer, name).reshape(-1) for name in _FIELDS}
        return problem.layout.rows(answer.z), replace(answer, **flat)

    def _augmented(self, z: Tree, multipliers: Tensor, weight: Tensor, *given: Any) -> Tensor:
        energies, values, equal = joined(self.together(z, *given))
        return energies + weight / 2 * _shifted(values, multipliers, weight, equal).square().sum(-1)

    def _violated(self, z: Tree, *given: Any) -> Tensor:
        _, values, equal = joined(self.together(z, *given))
        return broken(values, equal).square().sum(-1)

    def _look(self, z: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Energies (n,) and constraints (n, m + k) at rows z of the samples in `index`, and which are equalities."""
        problem = self.problem
        if problem.given is None:
            triple = self.together(problem.layout.tree(z, problem.layout.batch))
        else:
            triple = self.together(problem.layout.tree(z), *(problem.subset(index).given or ()))
        energies, values, equal = joined(triple)
        return energies.reshape(-1).to(z.dtype), values.reshape(len(z), len(equal)).to(z.dtype), equal

    def _answer(self, state: _State, equal: Tensor) -> ConstrainedMinimum:
        layout, found = self.problem.layout, state.found
        violation = largest(broken(found.values, equal))
        feasible = violation <= self.settings.tolerance
        stuck = ~feasible & (found.status != int(Status.NOT_FINITE))
        status = torch.where(stuck, int(Status.STALLED), found.status)
        minimum = Minimum(
            z=layout.tree(found.z, layout.batch),
            energy=found.energy.reshape(layout.batch),
            status=status.reshape(layout.batch),
            steps=state.steps.reshape(layout.batch),
            evaluations=state.evaluations.reshape(layout.batch),
            gradient_norm=found.gradient_norm.reshape(layout.batch),
        )
        multipliers = found.multipliers.reshape(*layout.batch, len(equal))
        return ConstrainedMinimum(
            minimum=minimum,
            violation=violation.reshape(layout.batch),
            feasible=feasible.reshape(layout.batch),
            inequality_multipliers=multipliers[..., ~equal],
            equality_multipliers=multipliers[..., equal],
        )


_FIELDS = ("energy", "status", "steps", "evaluations", "gradient_norm")


def _shifted(values: Tensor, multipliers: Tensor, weight: Tensor, equal: Tensor) -> Tensor:
    """`max(0, g + u/w)` and `h + v/w`."""
    return broken(values + multipliers / weight[..., None], equal)


def _pick(rows: Any, index: Tensor) -> Any:
    """Some rows of the tensors of a named tuple."""
    return type(rows)(*(part[index] if isinstance(part, Tensor) else _pick(part, index) for part in rows))


def _put(rows: Any, new: Any, index: Tensor, mask: Tensor) -> Any:
    """The tensors of a named tuple with new rows at `index`, where the mask over all rows says so."""

    def one(was: Any, now: Any) -> Any:
        if not isinstance(was, Tensor):
            return _put(was, now, index, mask)
        return was.index_copy(0, index, choose(mask[index], now, was[index]))

    return type(rows)(*(one(was, now) for was, now in zip(rows, new, strict=True)))
