"""What is wanted of a plan, and what is not: terms of its energy."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, cast, final

from torch import Tensor, nn


class Imagined(NamedTuple):
    """What is expected to come of a plan."""

    start: Tensor
    """The code now, `(*batch, features)`."""
    codes: Tensor
    """The codes after each action, `(*batch, horizon, features)`."""
    actions: Tensor
    """The plan, `(*batch, horizon, actions)`."""


class Cost(nn.Module, ABC):
    """One number for each plan, low for what is wanted. Costs add and scale: `GoalDistance() + 0.1 * Effort()`."""

    @abstractmethod
    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        """Costs `(*batch,)`, given the code of the goal `(*batch, features)`; leading axes broadcast."""

    def __add__(self, other: Cost) -> Cost:
        return Weighted([(1.0, self), (1.0, other)]) if isinstance(other, Cost) else NotImplemented

    def __mul__(self, weight: float) -> Cost:
        return Weighted([(weight, self)])

    __rmul__ = __mul__


@final
class Weighted(Cost):
    """`sum_k weight_k cost_k`."""

    def __init__(self, parts: Sequence[tuple[float, Cost]]) -> None:
        super().__init__()
        flat = [
            (weight * inner, cost)
            for weight, part in parts
            for inner, cost in (part.parts() if isinstance(part, Weighted) else [(1.0, part)])
        ]
        self.weights = [float(weight) for weight, _ in flat]
        self.costs = nn.ModuleList(cost for _, cost in flat)
        if not all(math.isfinite(weight) for weight in self.weights):
            raise ValueError(f"the weights of costs are finite, not {self.weights}")

    def parts(self) -> list[tuple[float, Cost]]:
        """The costs that it sums, each with its weight."""
        return list(zip(self.weights, (cast(Cost, part) for part in self.costs), strict=True))

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        terms = [weight * part(imagined, goal) for weight, part in self.parts()]
        return sum(terms[1:], terms[0])


@final
class GoalDistance(Cost):
    """`|code_t - goal|^2 / features`, summed `over` the plan, at its `last` step, or at the `closest`.

    The sum is for arriving soon and staying, the last for arriving at all, the closest for passing by.
    """

    def __init__(self, over: Literal["sum", "last", "closest"] = "sum") -> None:
        super().__init__()
        if over not in ("sum", "last", "closest"):
            raise ValueError(f"a distance is that of the 'sum' of steps, the 'last' or the 'closest', not {over!r}")
        self.over = over

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        if goal is None:
            raise ValueError("a distance from the goal needs one: give an observation of it as y")
        codes = imagined.codes[..., -1:, :] if self.over == "last" else imagined.codes
        distances = (codes - goal[..., None, :]).square().mean(-1)
        return distances.amin(-1) if self.over == "closest" else distances.sum(-1)


@final
class Effort(Cost):
    """`sum_t |action_t|^2`."""

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        return imagined.actions.square().sum((-2, -1))


@final
class Jerk(Cost):
    """`sum_t |action_(t+1) - action_t|^2`."""

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        return imagined.actions.diff(dim=-2).square().sum((-2, -1))


@final
class Critic(Cost):
    """`sum_t critic(code_t)` of a network `(*batch, features) -> (*batch, 1)` or `(*batch,)`: a cost that was learned.

    With `over="last"` it is asked about the last code alone, for what lies beyond the horizon.
    """

    def __init__(self, critic: nn.Module, over: Literal["sum", "last"] = "sum") -> None:
        super().__init__()
        if over not in ("sum", "last"):
            raise ValueError(f"a critic is asked about the 'sum' of steps or the 'last', not {over!r}")
        self.critic, self.over = critic, over

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        codes = imagined.codes[..., -1:, :] if self.over == "last" else imagined.codes
        return _of_each(codes, self.critic(codes), "a critic").sum(-1)


@final
class Guardrail(Cost):
    """What must not happen: `excess(code) > 0` at some step; as a cost, `sum_t max(0, excess(code_t) + margin)`.

    `excess` takes codes `(*batch, features)` to `(*batch,)`, such as how far a position that a probe reads off the code
    is inside a hazard. `margin` is what the model may err by: the quantile of its errors that
    `ebm.planning.conformal_margin` finds. As a cost it is soft: enough weight on the goal goes through it. Among the
    `guardrails` of a `Plan` it is hard: plans keep to it, or say that there is none that does.
    """

    def __init__(self, excess: Callable[[Tensor], Tensor], margin: float = 0.0) -> None:
        super().__init__()
        if not math.isfinite(margin):
            raise ValueError(f"the margin of a guardrail is finite, not {margin}: is there data to choose it by?")
        self.excess, self.margin = excess, margin

    def violation(self, imagined: Imagined) -> Tensor:
        """`excess + margin` at each step, `(*batch, horizon)`: nowhere positive in a plan that is safe."""
        return _of_each(imagined.codes, self.excess(imagined.codes), "the excess of a guardrail") + self.margin

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        return self.violation(imagined).relu().sum(-1)


def _of_each(codes: Tensor, values: Tensor, name: str) -> Tensor:
    """Values `(*batch,)` or `(*batch, 1)` of codes `(*batch, features)`, as `(*batch,)`.

    Raises ValueError for another number of them.
    """
    batch = codes.shape[:-1]
    if values.shape not in (batch, (*batch, 1)):
        raise ValueError(
            f"{name} is one number for each code: of codes {tuple(codes.shape)} it is {tuple(batch)}, but this one is"
            f" {tuple(values.shape)}; sum over features, and neither over steps nor over the batch"
        )
    return values.reshape(batch)
