"""A latent of which every value can be tried."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ebm.adjoint import Adjoint
from ebm.layout import Layout, Tree
from ebm.marginals.marginal import Estimate, Marginal, in_chunks
from ebm.minimize import Restarts
from ebm.problem import Problem
from ebm.solvers.solver import Solver


@final
@dataclass(frozen=True, eq=False)
class Enumerated(Marginal):
    """`-1/beta log mean_k exp(-beta E(z_k))` over K candidates, exactly; its derivative is that of
    `sum_k softmax(-beta E)_k E(z_k)`.

    `candidates` are `(K, ...)`, shaped as z without its batch axes, and the same for all samples. `measure` is "mean"
    for a uniform prior over them, or "sum", which counts them: lower by `log K / beta`. At an infinite beta it is the
    minimum over the candidates. No solver is run, so that E need not have a derivative in z.
    """

    candidates: Tree = None
    measure: Literal["mean", "sum"] = "mean"
    rows_at_once: int = 2**16
    """How many energies are in memory at once."""

    def __post_init__(self) -> None:
        super().__post_init__()
        leaves = tree_leaves(self.candidates)
        if not leaves or not all(isinstance(leaf, Tensor) and leaf.ndim for leaf in leaves):
            raise ValueError("`candidates` of Enumerated are a tensor (K, ...), or a tree of them, one row for each")
        if len({len(leaf) for leaf in leaves}) > 1 or not len(leaves[0]):
            raise ValueError(
                f"the parts of the candidates have {[len(leaf) for leaf in leaves]} rows: as many each, one at least"
            )
        if self.measure not in ("mean", "sum"):
            raise ValueError(f'`measure` is "mean" or "sum", not {self.measure!r}')

    def estimate(self, problem: Problem, rows: Tensor, solver: Solver | None, restarts: int | Restarts) -> Estimate:
        energies = self._energies(problem, rows)
        value = -torch.logsumexp(-self.beta * energies, 0) / self.beta
        return self._exact(problem, value + (math.log(len(energies)) / self.beta if self.measure == "mean" else 0))

    def limit(
        self,
        problem: Problem,
        rows: Tensor,
        solver: Solver | None,
        restarts: int | Restarts,
        adjoint: Adjoint | None,
    ) -> Estimate:
        return self._exact(problem, self._energies(problem, rows).amin(0))

    def _energies(self, problem: Problem, rows: Tensor) -> Tensor:
        """The energies `(K, N)` of all candidates."""
        layout = Layout.of(self.candidates, tree_leaves(self.candidates)[0].shape[:1])
        if (layout.structure, layout.events) != (problem.layout.structure, problem.layout.events):
            raise ValueError(
                f"a candidate has parts of shapes {[tuple(event) for event in layout.events]}, but z of a sample has"
                f" {[tuple(event) for event in problem.layout.events]}: give candidates (K, ...) shaped as z is"
            )
        z = layout.rows(self.candidates).to(rows)[:, None].expand(-1, *rows.shape)
        return in_chunks(problem.candidates, (z,), self.rows_at_once // max(len(rows), 1))

    def _exact(self, problem: Problem, value: Tensor) -> Estimate:
        value = value.reshape(problem.layout.batch)
        zeros = torch.zeros_like(value, requires_grad=False)
        return Estimate(value, zeros, zeros + torch.nan, torch.zeros_like(zeros, dtype=torch.long))
