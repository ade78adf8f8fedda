"""The one abstraction that everything else serves: a scalar score of how well variables fit together."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, cast, final

from torch import Tensor, nn

Variable = Any
"""A tensor, or None where an energy does without that variable; a subclass that needs it writes Tensor."""


class Energy(nn.Module, ABC):
    """`E(x, y, z)`, one number per sample: low where `y` goes with `x`, for the best latent `z`.

    A subclass writes `cost`; the rest has defaults. It is split in two so that networks run once:
    `encode` turns variables into codes, and inference, negatives and planning then call `cost` alone, as
    often as they need to. Either variable may be `None` where an energy does not use it.
    """

    def encode(self, x: Variable, y: Variable) -> tuple[Variable, Variable]:
        """Codes `(hx, hy)` of the variables, by default the variables themselves."""
        return x, y

    @abstractmethod
    def cost(self, hx: Variable, hy: Variable, z: Variable = None) -> Tensor:
        """Energies `(*batch,)` of codes `(*batch, features)`; the leading axes of the arguments broadcast.

        It must treat samples one by one: nothing in it may mix them, as batch normalisation does.
        """

    def latent(self, hx: Variable, hy: Variable) -> Variable:
        """Where inference of `z` starts, `(*batch, ...)`, or None: this energy has no latent variable.

        Several latents at once are a tuple or dict of tensors that share their batch axes.
        """
        return None

    def residuals(self, hx: Variable, hy: Variable, z: Variable) -> Variable:
        """`r` of shape `(*batch, m)` if the cost is `|r|^2`, which GaussNewton can make use of; else None."""
        return None

    def pairs(self, hx: Variable, hy: Variable) -> Tensor:
        """Energies `(n, m)` of every `hx[i]` with every `hy[j]`; override it where a matrix product does it."""
        return self.cost(hx[:, None], hy[None, :])

    def rows(self, hx: Variable, hy: Variable) -> tuple[Tensor, ...]:
        """What regularizers read, `(rows, features)` each: by default both codes."""
        return hx, hy

    def represent(self, x: Tensor) -> Tensor:
        """What is kept of `x`, `(batch, features)`, for other tasks to use: probes read this, not the code."""
        return self.encode(x, x)[0].flatten(1)

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step, with the share of training done before: move a target, project a weight."""

    def forward(self, x: Variable, y: Variable, z: Variable = None) -> Tensor:
        """`E(x, y, z)`, shape `(*batch,)`."""
        return self.cost(*self.encode(x, y), z)

    def __add__(self, other: Energy) -> Energy:
        return Sum([(1.0, self), (1.0, other)]) if isinstance(other, Energy) else NotImplemented

    def __mul__(self, weight: float) -> Energy:
        return Sum([(weight, self)])

    __rmul__ = __mul__


@final
class Sum(Energy):
    """`sum_k weight_k E_k`, which is what `E1 + 0.5 * E2` makes: low where all that have a weight are.

    At most one of them encodes, infers from a start of its own, or represents, and it does so for all: the others are
    energies of its codes. Raises ValueError where several would.
    """

    def __init__(self, parts: Sequence[tuple[float, Energy]]) -> None:
        super().__init__()
        flat = [
            (weight * inner, energy)
            for weight, part in parts
            for inner, energy in (part.parts() if isinstance(part, Sum) else [(1.0, part)])
        ]
        self.weights = [float(weight) for weight, _ in flat]
        self.energies = nn.ModuleList(energy for _, energy in flat)
        if not all(math.isfinite(weight) for weight in self.weights):
            raise ValueError(f"the weights of a sum of energies are finite, not {self.weights}")
        self._encodes = self._only("encode")
        self._starts = self._only("latent")

    def parts(self) -> list[tuple[float, Energy]]:
        """The energies that it sums, each with its weight."""
        return list(zip(self.weights, (cast(Energy, energy) for energy in self.energies), strict=True))

    def encode(self, x: Variable, y: Variable) -> tuple[Variable, Variable]:
        return self._encodes.encode(x, y)

    def cost(self, hx: Variable, hy: Variable, z: Variable = None) -> Tensor:
        costs = [weight * energy.cost(hx, hy, z) for weight, energy in self.parts()]
        return sum(costs[1:], costs[0])

    def latent(self, hx: Variable, hy: Variable) -> Variable:
        return self._starts.latent(hx, hy)

    def pairs(self, hx: Variable, hy: Variable) -> Tensor:
        tables = [weight * energy.pairs(hx, hy) for weight, energy in self.parts()]
        return sum(tables[1:], tables[0])

    def rows(self, hx: Variable, hy: Variable) -> tuple[Tensor, ...]:
        return self._encodes.rows(hx, hy)

    def represent(self, x: Tensor) -> Tensor:
        return self._encodes.represent(x)

    def after_step(self, progress: float) -> None:
        for _, energy in self.parts():
            energy.after_step(progress)

    def _only(self, method: str) -> Energy:
        """The one energy that has a method of its own; the first where none has."""
        own = [energy for _, energy in self.parts() if getattr(type(energy), method) is not getattr(Energy, method)]
        if len({id(energy) for energy in own}) > 1:
            names = ", ".join(type(energy).__name__ for energy in own)
            raise ValueError(
                f"a sum of energies has one that does `{method}`, for all of them, but {names} each do: make one of"
                " them an energy of the other's codes"
            )
        return own[0] if own else self.parts()[0][1]
