"""Minimise an energy over a latent: one loop for every solver, and an answer that says how each sample fared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor
from torch.func import grad_and_value

from ebm.adjoint import Adjoint, Detached
from ebm.solvers.lbfgs import LBFGS
from ebm.solvers.solver import Evaluate, Point, Solver

EnergyFunction = Callable[[Tensor], Tensor]  # (*batch, ...) -> (*batch,)


class Status(IntEnum):
    """How a sample's solve ended."""

    RUNNING = 0
    CONVERGED = 1
    OUT_OF_STEPS = 2
    STALLED = 3
    NOT_FINITE = 4

    @property
    def advice(self) -> str:
        """What it means, and what to do about it."""
        return _ADVICE[self]


_ADVICE = {
    Status.RUNNING: "the solve has not ended",
    Status.CONVERGED: "no component of the gradient is larger than the tolerance",
    Status.OUT_OF_STEPS: "still going down: raise `steps`, or take a faster solver such as LBFGS",
    Status.STALLED: "no step lowers the energy any more: the tolerance is below what this dtype resolves (use float64"
    " or raise `tolerance`), the rate is too high, or the energy has a kink",
    Status.NOT_FINITE: "the energy or its gradient became NaN or infinite: lower the rate, start elsewhere, or keep `z`"
    " where the energy is defined",
}


@dataclass(frozen=True)
class Minimum:
    """The answer of a minimisation, one row per sample of the batch.

    Where a sample did not converge, `z` is the best point that it visited.
    """

    z: Tensor
    """The minimisers, shaped as the start."""
    energy: Tensor
    """Their energies `(*batch,)`, with the derivative that the adjoint gives."""
    status: Tensor
    """A `Status` each, `(*batch,)`."""
    steps: Tensor
    """Steps taken before the sample ended."""
    evaluations: Tensor
    """Evaluations of the energy and its gradient that the sample took part in."""
    gradient_norm: Tensor
    """The largest absolute component of the gradient at `z`."""

    @property
    def converged(self) -> Tensor:
        """Which samples converged, `(*batch,)`."""
        return self.status == Status.CONVERGED

    def summary(self) -> str:
        """How many samples ended in which way, with the advice for those that failed."""
        lines = []
        for status, count in Counter(Status(value) for value in self.status.flatten().tolist()).most_common():
            lines.append(f"{count} of {self.status.numel()} {status.name.lower().replace('_', ' ')}: {status.advice}")
        return "\n".join(lines)

    def raise_if_failed(self) -> Minimum:
        """Return itself, or raise a RuntimeError that says which way how many samples failed."""
        if not bool(self.converged.all()):
            raise RuntimeError(f"the minimisation failed for some samples:\n{self.summary()}")
        return self


def minimize(
    fn: EnergyFunction, start: Tensor, solver: Solver | None = None, *, adjoint: Adjoint | None = None
) -> Minimum:
    """`argmin_z fn(z)` for every sample by itself, from `start`.

    `fn` takes `(*batch, ...)` to `(*batch,)`, one energy a sample. `solver` is L-BFGS unless given; `adjoint` says how
    derivatives return through the answer and is `Detached` unless given: exact and free for the energy at the minimum.

    Raises ValueError if `fn` does not return one energy a sample, or if the start is not finite floating point.
    """
    solver, adjoint = solver or LBFGS(), adjoint or Detached()
    batch = _batch_shape(fn, start)

    def flat(z: Tensor) -> Tensor:
        return fn(z.reshape(start.shape)).reshape(-1)

    rows = start.reshape(batch.numel(), start.shape[len(batch) :].numel())
    ended = adjoint(lambda z: _solve(_evaluation(flat), z, solver), rows)
    z = ended.point.z.reshape(start.shape)
    return Minimum(
        z=z,
        energy=fn(z),
        status=ended.status.reshape(batch),
        steps=ended.steps.reshape(batch),
        evaluations=ended.steps.reshape(batch) + 1,
        gradient_norm=_norm(ended.point).reshape(batch),
    )


def _batch_shape(fn: EnergyFunction, start: Tensor) -> torch.Size:
    if not start.is_floating_point():
        raise ValueError(f"a minimisation moves z by small steps, so it starts from floating point, not {start.dtype}")
    if not bool(start.isfinite().all()):
        raise ValueError(f"the start holds {int((~start.isfinite()).sum())} values that are NaN or infinite")
    with torch.no_grad():
        shape = fn(start).shape
    if shape and start.shape[len(shape) :].numel() == 0:
        raise ValueError(f"there is nothing to minimise over: z of shape {tuple(start.shape)} has no features")
    if not shape or shape != start.shape[: len(shape)]:
        raise ValueError(
            f"an energy returns one number per sample: for z of shape {tuple(start.shape)} its shape is a leading part"
            f" of that, such as {tuple(start.shape[:1])}, but it was {tuple(shape)}; sum over features, not the batch,"
            " and give a single sample a batch of one"
        )
    return shape


def _evaluation(fn: EnergyFunction) -> Evaluate:
    def total(z: Tensor) -> tuple[Tensor, Tensor]:
        energies = fn(z)
        return energies.sum(), energies

    def evaluate(z: Tensor) -> Point:
        gradient, (_, energies) = grad_and_value(total, has_aux=True)(z)
        return Point(z, energies, gradient)

    return evaluate


@dataclass(frozen=True)
class _Ended:
    point: Point
    status: Tensor
    steps: Tensor


def _solve(evaluate: Evaluate, z: Tensor, solver: Solver) -> _Ended:
    point = best = evaluate(z)
    state = solver.init(point)
    steps = torch.zeros(len(z), dtype=torch.long, device=z.device)
    idle = torch.zeros_like(steps)
    status = _status(point, idle, solver)
    # Asking whether all have ended waits for the device, so an accelerator is asked only now and then.
    interval = 1 if z.device.type == "cpu" else 16
    for step in range(solver.steps):
        running = status == Status.RUNNING
        if step % interval == 0 and not bool(running.any()):
            break
        new, state = solver.step(evaluate, point, state)
        point = _where(running, new, point)
        better, progress = _improves(point, best)
        best = _where(running & better, point, best)
        steps = steps + running
        idle = torch.where(progress, 0, idle + 1)
        status = torch.where(running, _status(point, idle, solver), status)
    status = torch.where(status == Status.RUNNING, int(Status.OUT_OF_STEPS), status)
    return _Ended(_where(status == Status.CONVERGED, point, best), status, steps)


def _status(point: Point, idle: Tensor, solver: Solver) -> Tensor:
    finite = point.energy.isfinite() & point.gradient.isfinite().all(-1)
    status = torch.where(idle >= solver.patience, int(Status.STALLED), int(Status.RUNNING))
    status = torch.where(_norm(point) <= solver.tolerance, int(Status.CONVERGED), status)
    return torch.where(finite, status, int(Status.NOT_FINITE))


def _improves(point: Point, best: Point) -> tuple[Tensor, Tensor]:
    """Whether a point is better than the best so far, and whether by more than rounding could make it."""
    noise = 10 * torch.finfo(best.energy.dtype).eps * best.energy.abs()
    lower = point.energy < best.energy - noise
    flatter = (point.energy <= best.energy + noise) & (_norm(point) < _norm(best))
    progress = lower | (flatter & (_norm(point) < 0.9 * _norm(best)))
    return lower | flatter, progress


def _norm(point: Point) -> Tensor:
    return point.gradient.detach().abs().amax(-1)


def _where(mask: Tensor, new: Point, old: Point) -> Point:
    return Point(
        torch.where(mask[:, None], new.z, old.z),
        torch.where(mask, new.energy, old.energy),
        torch.where(mask[:, None], new.gradient, old.gradient),
    )
