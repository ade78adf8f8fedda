"""A plan: actions as the latent of an energy, low where they lead to what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from ebm.energies.costs import Cost, Effort, GoalDistance, Guardrail, Imagined
from ebm.energies.dynamics import Dynamics, LearnedDynamics
from ebm.energies.risk import Mean
from ebm.energy import Energy
from ebm.networks.mlp import MLP
from ebm.networks.transitions import ResidualTransition

Risk = Callable[[Tensor], Tensor]
"""Costs `(draws, *batch)` of the same plan under so many draws of what is left open, to one number each `(*batch,)`."""


@final
class Plan(Energy):
    """`E(x, y, z) = costs(what dynamics imagine of z from x, goal y)`: x is seen now, y is to be seen, z are actions.

    x and y are observations (or states, of dynamics that see those), `z` is `(*batch, horizon, actions)`, inferred from
    zero: `FreeEnergy(plan, Adam(rate=0.3, steps=20), within=Box(-1, 1), restarts=8).infer(x, y).z`. y may be None where
    no cost asks for a goal.

    Dynamics that leave something open are imagined under as many `draws` of it, the same ones for every plan that is
    compared, and `risk` makes one number of their costs: `ebm.energies.Mean` unless given, or `ebm.energies.CVaR`. A
    plan without draws is for dynamics that draw nothing.

    `guardrails` are hard: `violations` says by how much a plan breaks them, and `ebm.augmented_lagrangian` keeps to
    them. The configurator is `configured`: the same model turned to another task.
    """

    def __init__(
        self,
        dynamics: Dynamics,
        costs: Cost | None = None,
        horizon: int = 16,
        actions: int = 2,
        guardrails: Sequence[Guardrail] = (),
        draws: int = 0,
        risk: Risk | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (("horizon", horizon, 1), ("actions", actions, 1), ("draws", draws, 0)):
            if value < least:
                raise ValueError(f"`{name}` of a plan is at least {least}, not {value}")
        self.dynamics = dynamics
        self.costs = costs if costs is not None else GoalDistance()
        self.guardrails = nn.ModuleList(guardrails)
        self.horizon, self.actions = horizon, actions
        self.draws, self.risk, self.seed = draws, risk or Mean(), seed

    @classmethod
    def small(cls) -> Plan:
        """One for observations of 8 features, for tests."""
        transition = ResidualTransition(4, 3, 0, (16,), nn.Tanh)
        dynamics = LearnedDynamics(MLP([8, 16, 4], activation=nn.Tanh), transition, observation_axes=1)
        return cls(dynamics, GoalDistance() + 0.1 * Effort(), horizon=2, actions=3)

    def configured(self, **changes: Any) -> Plan:
        """The same model with other costs, horizon, guardrails, draws, risk or seed; nothing is trained or copied.

        Raises TypeError for a setting that a plan does not have.
        """
        names = ("costs", "horizon", "guardrails", "draws", "risk", "seed")
        if unknown := sorted(changes.keys() - set(names)):
            raise TypeError(f"a plan has no setting {', '.join(unknown)}; what can be configured is {', '.join(names)}")
        kept: dict[str, Any] = {name: getattr(self, name) for name in names}
        return Plan(self.dynamics, actions=self.actions, **(kept | changes))

    def encode(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if y is not None and x.shape[1:] != y.shape[1:]:
            raise ValueError(
                f"a goal looks as what is seen, {tuple(x.shape[1:])}, but this one is {tuple(y.shape[1:])}:"
                " `world.observe(world.goal(states))` is such a picture"
            )
        return self.dynamics.read(x), None if y is None else self.dynamics.read(y)

    def latent(self, hx: Tensor, hy: Tensor | None) -> Tensor:
        batch = hx.shape[:-1] if hy is None else torch.broadcast_shapes(hx.shape[:-1], hy.shape[:-1])
        return hx.new_zeros(*batch, self.horizon, self.actions)

    def imagine(self, hx: Tensor, z: Tensor) -> Imagined:
        """What comes of actions, with an axis of `draws` in front where there are any."""
        batch = torch.broadcast_shapes(hx.shape[:-1], z.shape[:-2])
        start, actions = hx.expand(*batch, -1), z.expand(*batch, *z.shape[-2:])
        if self.draws == 0:
            return Imagined(start, self.dynamics.imagine(start, actions, None), actions)
        noise = self._noise(start, z.shape[-2])
        start, actions = start.expand(self.draws, *start.shape), actions.expand(self.draws, *actions.shape)
        return Imagined(start, self.dynamics.imagine(start, actions, noise), actions)

    def cost(self, hx: Tensor, hy: Tensor | None, z: Tensor | None = None) -> Tensor:
        if z is None:
            raise ValueError("the energy of a plan needs actions z: call FreeEnergy or a controller, which infer them")
        return self._cost(self.imagine(hx, z), hy)

    def violations(self, hx: Tensor, z: Tensor) -> Tensor:
        """How far each guardrail is passed at each step, `(*batch, guardrails * horizon)`; the worst over draws."""
        return self._violations(self.imagine(hx, z))

    def judged(self, hx: Tensor, hy: Tensor | None, z: Tensor) -> tuple[Tensor, Tensor]:
        """The cost and the violations of actions, imagined once."""
        imagined = self.imagine(hx, z)
        return self._cost(imagined, hy), self._violations(imagined)

    def represent(self, x: Tensor) -> Tensor:
        return self.dynamics.read(x)

    def _cost(self, imagined: Imagined, hy: Tensor | None) -> Tensor:
        costs = self.costs(imagined, hy)
        return self.risk(costs) if self.draws else costs

    def _violations(self, imagined: Imagined) -> Tensor:
        found = torch.cat([cast(Guardrail, rail).violation(imagined) for rail in self.guardrails], -1)
        return found.amax(0) if self.draws else found

    def _noise(self, start: Tensor, horizon: int) -> Tensor | None:
        """The same luck for every plan, `(draws, 1..., horizon, numbers)`."""
        generator = torch.Generator(start.device).manual_seed(self.seed)
        alone = start.reshape(-1, start.shape[-1])[:1].detach().expand(self.draws, horizon, -1)
        noise = self.dynamics.noise(alone, generator)
        if noise is None:
            return None
        return noise.reshape(self.draws, *[1] * (start.ndim - 1), horizon, noise.shape[-1])
