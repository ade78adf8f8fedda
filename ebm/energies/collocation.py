"""Collocation: a plan whose codes are unknowns beside its actions, with the dynamics as an equality between them."""

from __future__ import annotations

import math
from typing import NamedTuple, cast, final

import torch
from torch import Tensor

from ebm.energies.costs import Guardrail, Imagined
from ebm.energies.plan import Plan
from ebm.energy import Energy


class Together(NamedTuple):
    """What `ebm.AugmentedLagrangian.minimize_together` asks for, from one pass through the model."""

    energy: Tensor
    """Costs `(*batch,)`, without what the dynamics are broken by."""
    inequality: Tensor | None
    """How far each guardrail is passed, `(*batch, guardrails * horizon)`; None without guardrails."""
    equality: Tensor
    """How far each code is from what the dynamics make of the one before, `(*batch, horizon, features)`."""


@final
class Collocation(Energy):
    """`E(x, y, (a, c)) = costs(c, a, y) + weight sum_t |c_(t+1) - step(c_t, a_t)|^2`, with `c_0` the code of x.

    Collocation (Hargraves and Paris 1987), on a learned model: a plan as `Plan` takes it, but its latent is
    `{"actions": (*batch, horizon, actions), "codes": (*batch, horizon, features)}`. All steps are evaluated at once,
    and no gradient goes through more than one of them, where shooting goes through the whole rollout and back. The
    codes need not be what comes of the actions: a small `weight` lets them jump.

    With a weight the dynamics are soft, and what is left open is `defects`. Hard, by an augmented Lagrangian:
    `AugmentedLagrangian().minimize_together(collocation.together, collocation.latent(hx, hy), given=(hx, hy))`.
    Constraints on actions alone are `within={"actions": Box(-1, 1), "codes": None}`. Guardrails count in `together`.

    Raises ValueError for a plan with draws: under each of them the codes would be others.
    """

    def __init__(self, plan: Plan, weight: float = 1.0) -> None:
        super().__init__()
        if plan.draws:
            raise ValueError(
                f"the codes of a collocation are unknowns, one of each step, but this plan has {plan.draws} draws of"
                " them: take `plan.configured(draws=0)`, or plan by shooting"
            )
        if not 0 < weight < math.inf:
            raise ValueError(f"the weight of the dynamics is positive and finite, not {weight}")
        self.plan, self.weight = plan, weight

    @classmethod
    def small(cls) -> Collocation:
        """One for observations of 8 features, for tests."""
        return cls(Plan.small())

    def encode(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.plan.encode(x, y)

    def latent(self, hx: Tensor, hy: Tensor | None) -> dict[str, Tensor]:
        return self.start(hx, self.plan.latent(hx, hy))

    def start(self, hx: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """A latent without defects: actions `(*batch, horizon, actions)`, and the codes that come of them.

        Where these are not finite, the code now stands in: so that it is the energy there that is NaN, not its latent.
        """
        imagined = self.plan.imagine(hx, actions)
        codes = torch.where(imagined.codes.isfinite(), imagined.codes, imagined.start[..., None, :])
        return {"actions": imagined.actions, "codes": codes}

    def cost(self, hx: Tensor, hy: Tensor | None, z: dict[str, Tensor] | None = None) -> Tensor:
        if z is None:
            raise ValueError("the energy of a collocation needs actions and codes z, which FreeEnergy infers")
        defects = self.defects(hx, z).square().sum((-1, -2))
        return self.plan.costs(self._imagined(hx, z), hy) + self.weight * defects

    def defects(self, hx: Tensor, z: dict[str, Tensor]) -> Tensor:
        """`c_(t+1) - step(c_t, a_t)` at each step, `(*batch, horizon, features)`."""
        imagined, dynamics = self._imagined(hx, z), self.plan.dynamics
        before = torch.cat([imagined.start[..., None, :], imagined.codes[..., :-1, :]], -2)
        return imagined.codes - dynamics.step(before, imagined.actions, dynamics.draw(before, None))

    def together(self, z: dict[str, Tensor], hx: Tensor, hy: Tensor | None = None) -> Together:
        """Costs, guardrails and defects, for an augmented Lagrangian."""
        imagined = self._imagined(hx, z)
        rails = [cast(Guardrail, rail).violation(imagined) for rail in self.plan.guardrails]
        passed = torch.cat(rails, -1) if rails else None
        return Together(self.plan.costs(imagined, hy), passed, self.defects(hx, z))

    def represent(self, x: Tensor) -> Tensor:
        return self.plan.represent(x)

    def _imagined(self, hx: Tensor, z: dict[str, Tensor]) -> Imagined:
        codes, actions = z["codes"], z["actions"]
        batch = torch.broadcast_shapes(hx.shape[:-1], codes.shape[:-2], actions.shape[:-2])
        start, codes = hx.expand(*batch, -1), codes.expand(*batch, *codes.shape[-2:])
        return Imagined(start, codes, actions.expand(*batch, *actions.shape[-2:]))
