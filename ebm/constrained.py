"""What shall not be positive and what shall be zero of each sample, and an answer that keeps to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ebm.layout import Tree
from ebm.minimize import Minimum

Values = tuple[Tensor, Tensor | None, Tensor | None]
"""Energies `(*batch,)`, what shall not be positive and what shall be zero, each `(*batch,)` or `(*batch, ...)`."""


@dataclass(frozen=True)
class ConstrainedMinimum:
    """The answer of a constrained minimisation, one row per sample: a `Minimum`, and how far it keeps to constraints.

    Where no answer was found that keeps to them, this is the one that breaks them least, and `feasible` says so.
    """

    minimum: Minimum
    """The minimisers with their energies, without those of constraints; steps and evaluations are over all rounds."""
    violation: Tensor
    """The largest of `max(0, g)` and `|h|` at the answer, `(*batch,)`; infinite where one is not a number."""
    feasible: Tensor
    """Where that is not above the tolerance, `(*batch,)`."""
    inequality_multipliers: Tensor
    """`u` of each inequality, `(*batch, m)`: what a unit more of room would save; zero where there is room left."""
    equality_multipliers: Tensor
    """`v` of each equality, `(*batch, k)`: the same, of either sign."""

    @property
    def z(self) -> Tree:
        """The minimisers."""
        return self.minimum.z

    @property
    def energy(self) -> Tensor:
        """Their energies `(*batch,)`."""
        return self.minimum.energy

    @property
    def converged(self) -> Tensor:
        """Which samples converged to a minimum that keeps to the constraints, `(*batch,)`."""
        return self.minimum.converged & self.feasible

    def summary(self) -> str:
        """How many samples ended in which way, and how many break their constraints by how much."""
        violation = self.violation[~self.feasible]
        if not len(violation):
            return self.minimum.summary()
        lines = (
            f"{len(violation)} of {self.feasible.numel()} infeasible, by {violation.min():.3g} to"
            f" {violation.max():.3g}: no z that keeps to the constraints was found, and what is returned breaks them"
            " least; loosen them, start elsewhere, or allow more rounds"
        )
        kept = replace(self.minimum, status=self.minimum.status[self.feasible])
        return f"{lines}\n{kept.summary()}" if len(kept.status) else lines

    def raise_if_infeasible(self) -> ConstrainedMinimum:
        """Return itself, or raise a RuntimeError that says how many samples break their constraints, and by how much.

        One that keeps to them but has not converged passes.
        """
        if not bool(self.feasible.all()):
            raise RuntimeError(f"the constraints are not kept for some samples:\n{self.summary()}")
        return self


class Found(NamedTuple):
    """The best that is known of each sample: what is feasible before what is not, of such the lower."""

    z: Tensor  # (N, D)
    energy: Tensor  # (N,)
    values: Tensor  # (N, m + k)
    multipliers: Tensor  # (N, m + k)
    gradient_norm: Tensor  # (N,)
    status: Tensor  # (N,)


def joined(values: Values) -> tuple[Tensor, Tensor, Tensor]:
    """Energies `(*batch,)`, all constraints `(*batch, m + k)`, and which of them are equalities `(m + k,)`."""
    energies, inequality, equality = values
    not_positive, zero = _numbers("inequality", inequality, energies), _numbers("equality", equality, energies)
    count = not_positive.shape[-1]
    equal = torch.arange(count + zero.shape[-1], device=energies.device) >= count
    return energies, torch.cat([not_positive, zero], -1), equal


def _numbers(name: str, values: Tensor | None, energies: Tensor) -> Tensor:
    """Constraints as `(*batch, count)`; a count of 0 where there are none."""
    batch = energies.shape
    if values is None:
        return energies.new_zeros(*batch, 0)
    if not isinstance(values, Tensor) or not values.is_floating_point() or values.shape[: len(batch)] != batch:
        came = f"{values.dtype} of shape {tuple(values.shape)}" if isinstance(values, Tensor) else repr(values)
        raise ValueError(
            f"the {name} of a batch {tuple(batch)} is floating point of shape {tuple(batch)}, or with more axes behind:"
            f" as many numbers as there are constraints on a sample; but it was {came}"
        )
    return values.reshape(*batch, math.prod(values.shape[len(batch) :]))


def broken(values: Tensor, equal: Tensor) -> Tensor:
    """`max(0, g)` and `h`."""
    return torch.where(equal, values, values.relu())


def largest(values: Tensor) -> Tensor:
    """The largest modulus of each row, infinite where one is not a number; zero where there is none."""
    rows = torch.cat([values.abs(), values.new_zeros(len(values), 1)], -1).amax(-1)
    return torch.where(rows.isnan(), torch.inf, rows)


def better(new: Found, old: Found, equal: Tensor, tolerance: float, done: Tensor) -> Found:
    """The new where it is done; else what is feasible before what is not.

    Of two that are feasible the lower, and of two that are not the less violating one.
    """
    after, before = (broken(found.values, equal) for found in (new, old))
    feasible, was = largest(after) <= tolerance, largest(before) <= tolerance
    lower = ~was | (new.energy < old.energy)
    nearer = ~was & ~(after.square().sum(-1) >= before.square().sum(-1))
    finite = new.energy.isfinite() & after.isfinite().all(-1)
    taken = finite & (done | torch.where(feasible, lower, nearer))
    return Found(*(choose(taken, *pair) for pair in zip(new, old, strict=True)))


def choose(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """The new rows where the mask (N,) says so, else the old ones."""
    return torch.where(mask[:, None] if new.ndim == 2 else mask, new, old)
