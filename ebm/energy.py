"""The one abstraction that everything else serves: a scalar score of how well variables fit together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

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

    def represent(self, x: Tensor) -> Tensor:
        """What is kept of `x`, `(batch, features)`, for other tasks to use: probes read this, not the code."""
        return self.encode(x, x)[0].flatten(1)

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step, with the share of training done before: move a target, project a weight."""

    def forward(self, x: Variable, y: Variable, z: Variable = None) -> Tensor:
        """`E(x, y, z)`, shape `(*batch,)`."""
        return self.cost(*self.encode(x, y), z)
