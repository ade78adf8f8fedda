"""A world model of several levels, each slower than the one below it: H-JEPA."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast, final

import torch
from torch import Tensor, nn

from ebm.distances import Distance, SquaredDistance
from ebm.energies.costs import Cost, GoalDistance, Imagined
from ebm.energies.dynamics import Dynamics, LearnedDynamics
from ebm.energies.plan import Plan
from ebm.energies.world_model import Rollouts
from ebm.free_energy import FreeEnergy
from ebm.networks.mlp import MLP
from ebm.networks.transitions import ResidualTransition, Transition


@final
class Level(nn.Module):
    """A level above another: its codes are `encoder(code below)`, one of its steps is `stride` of the level below.

    What is done in that time is a macro-action `tanh(macro(actions below, side by side))`, which the box from -1 to 1
    holds, as it holds actions of worlds. `transition` takes the codes and macro-actions of this level. `encoder` is
    the identity where it is not given: a level that is slower, in the same space.
    """

    def __init__(self, stride: int, macro: nn.Module, transition: Transition, encoder: nn.Module | None = None) -> None:
        super().__init__()
        if stride < 2:
            raise ValueError(f"a level is slower than the one below it, by a stride of at least 2, not {stride}")
        if transition.latents:
            raise ValueError(f"the transition of a level takes no latents, but this one takes {transition.latents}")
        self.stride, self.macro, self.transition = stride, macro, transition
        self.encoder = encoder or nn.Identity()

    @classmethod
    def of(
        cls,
        features: int,
        actions: int,
        stride: int = 6,
        macro: int = 3,
        own: int | None = None,
        hidden: int = 128,
    ) -> Level:
        """A level above codes of so many features and actions, of small networks; with codes of its `own`, if any."""
        encoder = None if own is None else MLP([features, hidden, own])
        transition = ResidualTransition(own or features, macro, 0, (hidden, hidden))
        return cls(stride, MLP([stride * actions, hidden // 2, macro]), transition, encoder)

    def forward(self, codes: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The level below, `(*batch, T + 1, D)` and `(*batch, T, A)`, as this one sees it; the same with `T // stride`.

        Raises ValueError where T is less than a stride.
        """
        count = actions.shape[-2] // self.stride
        if count == 0:
            raise ValueError(
                f"one step of this level is {self.stride} of the level below, and there are {actions.shape[-2]}: give"
                " longer trajectories"
            )
        stretches = actions[..., : count * self.stride, :].unflatten(-2, (count, self.stride)).flatten(-2)
        return self.encoder(codes[..., : count * self.stride + 1 : self.stride, :]), torch.tanh(self.macro(stretches))


@final
class LevelDynamics(Dynamics):
    """A level as `Dynamics`, so that plans go through it: actions are macro-actions."""

    def __init__(self, below: Dynamics, level: Level) -> None:
        super().__init__()
        self.below, self.level = below, level

    def read(self, observations: Tensor) -> Tensor:
        return self.level.encoder(self.below.read(observations))

    def step(self, code: Tensor, action: Tensor, z: Tensor | None = None) -> Tensor:
        return self.level.transition(code, action)


@final
class SeenFromAbove(Cost):
    """A cost of what a plan comes to as the level above sees it, whose codes the goal is one of.

    So what a level expects after its first step is the goal of the level below, which need not know of its own space
    what the level above leaves out.
    """

    def __init__(self, cost: Cost, level: Level) -> None:
        super().__init__()
        self.inner, self.level = cost, level

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        seen = Imagined(self.level.encoder(imagined.start), self.level.encoder(imagined.codes), imagined.actions)
        return self.inner(seen, goal)


@final
class HierarchicalJEPA(Rollouts):
    """`E(x, y) = sum_k weight_k mean_j d(code^k_j, encoder^k(code^(k-1)_(j stride)))`: each level at its own pace.

    A hierarchical joint-embedding predictive architecture (LeCun 2022, section 4.6).

    Level 0 is `dynamics`: `code^0_t = transition(code^0_(t-1), action_t)`. Level k is one of `levels`, `code^k_j =
    transition^k(code^k_(j-1), macro^k_j)` from the first code on, where the actions of level 1's stretches are those
    of the world and those of level 2's are the macro-actions of level 1. All of them may collapse, and need
    regularizers each: `OfLevel`. A level of weight 0 is not computed.

    With `joint` the errors of upper levels change the codes below; without, each level learns of what is below as it
    is. On codes that no longer change call `cost` and the losses on codes that were kept (`packed(code, actions)`).
    """

    def __init__(
        self,
        dynamics: LearnedDynamics,
        levels: Sequence[Level],
        weights: Sequence[float] | None = None,
        joint: bool = True,
        distance: Distance | None = None,
    ) -> None:
        super().__init__()
        if not levels:
            raise ValueError("a hierarchy has a level above its dynamics: WorldModel is what has none")
        if dynamics.transition.latents:
            raise ValueError(
                f"a hierarchy leaves nothing open: its transition takes no latents, not {dynamics.transition.latents}"
            )
        weights = [1.0] * (len(levels) + 1) if weights is None else list(weights)
        if len(weights) != len(levels) + 1 or min(weights) < 0 or max(weights) <= 0:
            raise ValueError(f"there is a weight for each of {len(levels) + 1} levels, one above 0, not {weights}")
        self.dynamics, self.levels = dynamics, nn.ModuleList(levels)
        self.weights, self.joint, self.distance = weights, joint, distance or SquaredDistance()

    @classmethod
    def small(cls) -> HierarchicalJEPA:
        """One of three levels for observations of 8 features and actions of 3, for tests."""
        dynamics = LearnedDynamics(
            MLP([8, 16, 4], activation=nn.Tanh),
            ResidualTransition(4, 3, 0, (16,), nn.Tanh),
            observation_axes=1,
        )
        return cls(dynamics, [Level.of(4, 3, 2, 2, 3, 16), Level.of(3, 2, 3, 2, 2, 16)])

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        weighed = [k for k, weight in enumerate(self.weights) if weight > 0]
        trajectories = self.trajectories(hx, hy, weighed[-1])
        terms = [self.weights[k] * self._error(k, *trajectories[k]) for k in weighed]
        return sum(terms[1:], terms[0])

    def trajectories(self, hx: Tensor, hy: Tensor, highest: int) -> list[tuple[Tensor, Tensor]]:
        """Of each level up to the `highest`, codes `(*batch, T_k + 1, D_k)` and actions between `(*batch, T_k, A_k)`.

        Raises ValueError where a level has no step in that time.
        """
        batch = torch.broadcast_shapes(hx.shape[:-1], hy.shape[:-2])
        found = [self.trajectory(hx.expand(*batch, -1), hy.expand(*batch, *hy.shape[-2:]))]
        for level in list(self.levels)[:highest]:
            codes, actions = found[-1]
            found.append(level(codes, actions) if self.joint else level(codes.detach(), actions.detach()))
        return found

    def dynamics_of(self, k: int) -> Dynamics:
        """Level k for plans to go through; 0 is the lowest."""
        if not 0 <= k <= len(self.levels):
            raise ValueError(f"the levels are 0 to {len(self.levels)}, there is no {k}")
        found: Dynamics = self.dynamics
        for level in list(self.levels)[:k]:
            found = LevelDynamics(found, cast(Level, level))
        return found

    def span(self, k: int) -> int:
        """Steps of the world in one of level k."""
        return math.prod(cast(Level, level).stride for level in list(self.levels)[:k])

    def plan(self, k: int, horizon: int, costs: Cost | None = None) -> Plan:
        """A plan of level k, for a goal that is a code of the level above, or of its own where that is the highest."""
        dynamics, costs = self.dynamics_of(k), costs or GoalDistance()
        if k < len(self.levels):
            costs = SeenFromAbove(costs, cast(Level, self.levels[k]))
        transition = dynamics.level.transition if isinstance(dynamics, LevelDynamics) else self.dynamics.transition
        return Plan(dynamics, costs, horizon, transition.actions)

    def _error(self, k: int, codes: Tensor, actions: Tensor) -> Tensor:
        predicted = self.dynamics_of(k).rollout(codes[..., 0, :], actions)
        return self.distance(predicted, codes[..., 1:, :]).mean(-1)


@final
class OfLevel(nn.Module):
    """`regularizer(codes of a level)`: a term, among the losses of a `Learner`, that keeps level k from collapse.

    Each code is a row by itself, for `Variance` and the like; `ordered`, for `TemporalSmoothness` and the like, the
    regularizer takes codes `(batch, times, features)` and what was done between them.
    """

    def __init__(self, level: int, regularizer: nn.Module, ordered: bool = False) -> None:
        super().__init__()
        self.level, self.regularizer, self.ordered = level, regularizer, ordered

    def forward(self, F: FreeEnergy, hx: Tensor, hy: Tensor) -> Tensor:
        """Codes to a scalar. Raises TypeError for an energy that has no levels."""
        if not isinstance(F.energy, HierarchicalJEPA):
            raise TypeError(f"the levels of a HierarchicalJEPA are meant; {type(F.energy).__name__} has none")
        codes, actions = F.energy.trajectories(hx, hy, self.level)[self.level]
        return self.regularizer(codes, actions) if self.ordered else self.regularizer(codes.flatten(0, -2))
