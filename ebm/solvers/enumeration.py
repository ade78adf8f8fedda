"""Enumeration: for a latent that takes one of a few values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.line_search import choose
from ebm.solvers.solver import Point, Problem, Solver, State


class Left(NamedTuple):
    """How many of its candidates each sample has not been shown."""

    left: Tensor  # (N,)


@final
@dataclass(frozen=True, eq=False)
class Enumeration(Solver):
    """`argmin_k E(candidates[k])`: every sample is shown every candidate, and takes the best; of equals the first.

    Exact, after one step. `candidates` (K, *event) are shared by all samples: the entries of a codebook, one-hot
    labels, a grid of angles. `FreeEnergy(energy, Enumeration(codebook))` with the energy `|y - z|^2` is vector
    quantisation (van den Oord, Vinyals and Kavukcuoglu 2017). Derivatives of z reach the candidates through
    `Unrolled`; where the energy holds the codebook and z are one-hot, the default reaches it too.

    `chunk` candidates are evaluated at once, which takes the memory of as many batches. Neither the value nor the
    energy of the start matters. Two enumerations are equal only if they are one object.

    Raises ValueError for candidates that are not finite floating point, do not have the shape of z or lie outside its
    constraints.
    """

    gradient_free: ClassVar[bool] = True
    at_once: ClassVar[bool] = True
    steps = patience = 1
    tolerance = 0.0

    candidates: Tensor
    chunk: int = 256

    def __post_init__(self) -> None:
        if not self.candidates.is_floating_point() or self.candidates.ndim == 0 or len(self.candidates) == 0:
            raise ValueError(
                "candidates are values of z, in floating point, with one more axis in front, (K, *event), but these are"
                f" {self.candidates.dtype} of shape {tuple(self.candidates.shape)}; for labels take their one-hot codes"
            )
        if not bool(self.candidates.isfinite().all()):
            bad = int((~self.candidates.isfinite()).sum())
            raise ValueError(f"the candidates hold {bad} values that are NaN or infinite")
        if self.chunk < 1:
            raise ValueError(f"at least one candidate is evaluated at once, not {self.chunk}")

    def start(self, problem: Problem, z: Tensor) -> Point:
        # A candidate too, so that an answer is one even where no energy is finite; which is no reason not to look on.
        first = self._rows(problem, z)[:1].expand_as(z)
        energy = problem.energies(first)
        return Point(first, energy.nan_to_num(nan=torch.finfo(energy.dtype).max), torch.zeros_like(z))

    def init(self, problem: Problem, point: Point) -> State:
        return Left(point.energy.new_full((len(point.z),), len(self.candidates)))

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        parts = [_best(problem, rows, point) for rows in self._rows(problem, point.z).split(self.chunk)]
        best = parts[0]
        for part in parts[1:]:
            best = choose(part.energy < best.energy, part, best)
        return best, Left(torch.zeros_like(Left(*state).left))

    def residual(self, problem: Problem, point: Point, state: State) -> Tensor:
        return Left(*state).left

    def evaluations(self, steps: Tensor, state: State, features: int) -> Tensor:
        return 1 + steps * len(self.candidates)

    def _rows(self, problem: Problem, z: Tensor) -> Tensor:
        """The candidates `(K, D)`, in the dtype and on the device of the rows z."""
        events, (k, *event) = problem.layout.events, self.candidates.shape
        if len(events) > 1 or tuple(event) != tuple(events[0]):
            expected = " and ".join(str((k, *shape)) for shape in events)
            raise ValueError(
                f"candidates have the shape of z with one more axis in front: {expected} here, not {(k, *event)}"
                + ("; enumerate a latent of several parts as one tensor of all of them" if len(events) > 1 else "")
            )
        rows = self.candidates.reshape(k, -1).to(z)
        if problem.domain is not None and not torch.equal(problem.domain.project(rows), rows):
            outside = (problem.domain.project(rows) != rows).any(-1)
            raise ValueError(
                f"{int(outside.sum())} of {k} candidates lie outside the constraints on z: project them first, or do"
                " without `within`, since the answer is a candidate anyway"
            )
        return rows


def _best(problem: Problem, candidates: Tensor, point: Point) -> Point:
    """The best of some candidates (K, D) for each sample, the first of equals."""
    z = candidates[:, None].expand(-1, *point.z.shape)
    energies = problem.candidates(z)
    energies = torch.where(energies.isnan(), torch.inf, energies)
    index = energies.argmin(0)
    return Point(candidates[index], energies.gather(0, index[None])[0], torch.zeros_like(point.z))
