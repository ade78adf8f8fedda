"""What a plan costs when its cost is left to chance: one number from many draws."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

from torch import Tensor


@final
@dataclass(frozen=True)
class Mean:
    """`1/M sum_m cost_m`: draws that go badly count for no more than others."""

    def __call__(self, costs: Tensor) -> Tensor:
        """`(draws, *batch) -> (*batch,)`."""
        return _drawn(costs).mean(0)


@final
@dataclass(frozen=True)
class CVaR:
    """The mean of the worst `share` of the draws: conditional value at risk at level `1 - share`.

    `1/(share M) (sum of the floor(share M) largest + what is left of share M times the next)`, exact for M equally
    likely draws (Rockafellar and Uryasev 2002, proposition 8). With a share of 1 it is the mean, and with one of at
    most 1/M the worst of all. NaN in a draw is NaN in the result.

    Raises ValueError for a share that is not above 0 and at most 1.
    """

    share: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"the share of draws that counts is above 0 and at most 1, not {self.share}")

    def __call__(self, costs: Tensor) -> Tensor:
        """`(draws, *batch) -> (*batch,)`."""
        count = self.share * len(_drawn(costs))
        worst = costs.topk(min(len(costs), math.ceil(count)), 0).values
        whole = math.floor(count)
        total = worst[:whole].sum(0)
        return (total + (count - whole) * worst[-1]) / count if whole < count else total / count


def _drawn(costs: Tensor) -> Tensor:
    if costs.ndim == 0 or len(costs) == 0:
        raise ValueError(
            f"risk is over draws of costs, (draws, *batch), got {tuple(costs.shape)}: give the plan `draws`"
        )
    return costs
