"""Acting without a model: what was done on the way to where one came out, done again."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ebm.energies.dynamics import Dynamics
from ebm.networks.mlp import MLP
from ebm.planning.agent import Agent


@final
class GoalConditionedCloning(Agent):
    """`action = policy(code, goal's code)`, scaled up to the box's edge: the rival of planning that has no model.

    `policy` takes `(*batch, 2 features)` to `(*batch, actions)`; codes are what `dynamics` reads, and nothing else of
    it is used. `fit` makes one. The mean of what was done is a small step where much was done: actions whose largest
    component is at least `slowest` are scaled up to 1, and smaller ones by as much as that one would be; 1 leaves all
    as they are.
    """

    def __init__(self, dynamics: Dynamics, policy: nn.Module, slowest: float = 0.2) -> None:
        if not 0 < slowest <= 1:
            raise ValueError(f"slowest is a share of the box's edge, above 0 and at most 1, got {slowest}")
        self.dynamics, self.policy, self.slowest = dynamics, policy, slowest

    @property
    def sees_states(self) -> bool:  # type: ignore[override]
        """Whether the dynamics that read for it do."""
        return self.dynamics.sees_states

    @torch.no_grad()
    def act(self, seen: Tensor, goal: Tensor | None) -> Tensor:
        if goal is None:
            raise ValueError("what was cloned is how to get to a goal: this world gives none")
        actions = self.policy(torch.cat([self.dynamics.read(seen), self.dynamics.read(goal)], -1))
        return (actions / actions.abs().amax(-1, keepdim=True).clamp_min(self.slowest)).clamp(-1, 1)

    @classmethod
    def fit(
        cls,
        dynamics: Dynamics,
        codes: Tensor,
        actions: Tensor,
        steps: int = 1500,
        batch: int = 256,
        rate: float = 1e-3,
        hidden: int = 128,
        slowest: float = 0.2,
    ) -> GoalConditionedCloning:
        """Least squares `|policy(code_t, code_(t+k)) - action_t|^2` over times t and t + k of the same trajectory.

        Behaviour cloning with goals in hindsight (Andrychowicz et al. 2017; Ding et al. 2019): any later place was a
        goal that was reached. `codes` is `(N, T + 1, features)`, `actions` `(N, T, actions)`. By Adam, on batches of
        N, t and k that are uniform, from torch's global generator.

        Raises ValueError where codes are not of one time more than actions.
        """
        if codes.ndim != 3 or actions.ndim != 3 or codes.shape[:2] != (actions.shape[0], actions.shape[1] + 1):
            raise ValueError(
                "what is cloned are codes (N, T + 1, features) with the actions (N, T, actions) between them, got"
                f" {tuple(codes.shape)} and {tuple(actions.shape)}"
            )
        policy = MLP([2 * codes.shape[-1], hidden, actions.shape[-1]]).to(codes)
        optimizer = torch.optim.Adam(policy.parameters(), rate)
        for _ in range(steps):
            code, goal, done = _hindsight(codes, actions, batch)
            loss = mse_loss(policy(torch.cat([code, goal], -1)), done)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return cls(dynamics, policy.eval().requires_grad_(False), slowest)


def _hindsight(codes: Tensor, actions: Tensor, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes now and later `(batch, features)`, and what was done now `(batch, actions)`."""
    count, steps = actions.shape[:2]
    drawn = torch.rand(3, batch, device=codes.device)
    which, now = (drawn[0] * count).long(), (drawn[1] * steps).long()
    later = now + 1 + (drawn[2] * (steps - now)).long()
    return codes[which, now], codes[which, later.clamp_max(steps)], actions[which, now]
