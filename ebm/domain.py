"""Where z may be and what it costs there: a constraint or a penalty for each part of z, seen as rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from ebm.constraints import Constraint
from ebm.layout import Layout, Tree
from ebm.penalties import Penalty


@dataclass(frozen=True)
class Domain:
    """A constraint, a penalty or None for each leaf of z; all methods take and return rows `(N, D)`."""

    layout: Layout
    terms: tuple[Constraint | Penalty | None, ...]

    @classmethod
    def of(cls, layout: Layout, within: Any, penalty: Any) -> Domain | None:
        """The domain of a layout, or None where z is free.

        `within` and `penalty` are one term, which then holds for every part of z, or a tree of them like z itself.
        Raises ValueError where one part has both, or where a term does not fit its part.
        """
        free = tree_unflatten([None] * len(layout.events), layout.structure)
        terms = []
        for constraint, cost in zip(_spread(within, free), _spread(penalty, free), strict=True):
            if constraint is not None and cost is not None:
                raise ValueError(
                    f"one part of z has both {constraint} and {cost}, whose proximal operators do not compose in"
                    " general: use NonNegativeL1 for a sparse code that is not negative, or put one into the energy"
                )
            terms.append(constraint if cost is None else cost)
        return cls(layout, tuple(terms)) if any(term is not None for term in terms) else None

    @property
    def penalised(self) -> bool:
        """Whether some part of z has a penalty, which only a solver that takes proximal steps can minimise."""
        return any(isinstance(term, Penalty) for term in self.terms)

    @property
    def constrained(self) -> bool:
        """Whether some part of z has a constraint."""
        return any(isinstance(term, Constraint) for term in self.terms)

    def check(self, z: Tensor) -> None:
        """Raise ValueError where a term does not fit its part of z."""
        for term, leaf in zip(self.terms, self._leaves(z), strict=True):
            if term is not None:
                term.check(leaf)

    def project(self, z: Tensor) -> Tensor:
        """The nearest point that the constraints allow and at which the penalties are finite."""
        return self._each(lambda t, z: z if t is None else t.project(z), z)

    def prox(self, z: Tensor, step: Tensor) -> Tensor:
        """The proximal step of the penalties, and the projection on the constraints; `step` is `(N, 1)`."""

        def one(term: Constraint | Penalty | None, z: Tensor) -> Tensor:
            if isinstance(term, Penalty):
                return term.prox(z, step.reshape(len(z), *[1] * (z.ndim - 1)))
            return z if term is None else term.project(z)

        return self._each(one, z)

    def stopped(self, z: Tensor, to: Tensor) -> Tensor:
        """The projection of `to`, or the kink of a penalty in its stead where that is passed on the way from z."""

        def one(term: Constraint | Penalty | None, z: Tensor, to: Tensor) -> Tensor:
            if isinstance(term, Penalty):
                return term.stopped(z, to)
            return to if term is None else term.project(to)

        return self._each(one, z, to)

    def cost(self, z: Tensor) -> Tensor:
        """The sum `(N,)` of the penalties."""
        leaves = zip(self.terms, self._leaves(z), strict=True)
        costs = [self._total(term(leaf)) for term, leaf in leaves if isinstance(term, Penalty)]
        if not costs:
            return z.new_zeros(len(z))
        return costs[0] if len(costs) == 1 else torch.stack(costs).sum(0)

    def tangent(self, z: Tensor, direction: Tensor) -> Tensor:
        """What of a direction can be followed from z without leaving the constraints."""
        return self._each(lambda t, z, v: t.tangent(z, v) if isinstance(t, Constraint) else v, z, direction)

    def slope(self, z: Tensor, gradient: Tensor) -> Tensor:
        """What is left of the gradient where constraints hold z up and penalties pull at it; zero at a minimum."""

        def one(term: Constraint | Penalty | None, z: Tensor, gradient: Tensor) -> Tensor:
            if isinstance(term, Penalty):
                return term.subgradient(z, gradient)
            return gradient if term is None else -term.tangent(z, -gradient)

        return self._each(one, z, gradient)

    def free(self, z: Tensor, gradient: Tensor, direction: Tensor) -> Tensor:
        """What of a direction stays on the face that a minimum at z lies on."""
        return self._each(lambda t, z, g, v: v if t is None else t.free(z, g, v), z, gradient, direction)

    def curvature(self, z: Tensor, gradient: Tensor, direction: Tensor) -> Tensor:
        """What the curvature of the face, or of the penalty on it, adds to a Hessian-vector product."""
        return self._each(
            lambda t, z, g, v: torch.zeros_like(v) if t is None else t.curvature(z, g, v), z, gradient, direction
        )

    def _leaves(self, rows: Tensor) -> list[Tensor]:
        """The leaves of rows; one that is a number for each sample has a last axis of one."""
        return [leaf[:, None] if leaf.ndim == 1 else leaf for leaf in self.layout.leaves(rows)]

    @staticmethod
    def _total(costs: Tensor) -> Tensor:
        """One cost for each sample, of one for each entry of the other axes."""
        return costs if costs.ndim == 1 else costs.flatten(1).sum(1)

    def _each(self, fn: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """`fn` of each term and its leaves."""
        if len(self.terms) == 1 and len(self.layout.events[0]) == 1:  # the leaf is the rows
            return fn(self.terms[0], *rows)
        parts = zip(*(self._leaves(part) for part in rows), strict=True)
        done = [fn(term, *part).flatten(1) for term, part in zip(self.terms, parts, strict=True)]
        return done[0] if len(done) == 1 else torch.cat(done, 1)


def _spread(term: Any, like: Tree) -> list[Any]:
    """A term for each leaf of a tree, in its order: from one for all of them, or from a tree with one for each part."""
    if term is None or isinstance(term, Constraint | Penalty):
        return [term] * len(tree_flatten(like)[0])
    if isinstance(like, dict) and isinstance(term, dict) and term.keys() == like.keys():
        pairs = [(term[key], like[key]) for key in like]
    elif isinstance(like, list | tuple) and type(term) is type(like) and len(term) == len(like):
        pairs = list(zip(term, like, strict=True))
    else:
        raise ValueError(
            "`within` and `penalty` are one term for all of z, or a tree of terms of the same structure as z, with None"
            f" where there is none: for a part such as {like!r} that cannot be {term!r}"
        )
    return [one for pair in pairs for one in _spread(*pair)]
