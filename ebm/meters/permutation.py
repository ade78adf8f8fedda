"""How often chance alone would show as much dependence, by breaking what belongs together and measuring again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

TIE = 1e-12  # of the largest value: what is equal in exact arithmetic is summed in another order


class Significance(NamedTuple):
    """A statistic, and how often it is as large by chance."""

    value: float
    p: float


def permutation_test(
    statistic: Callable[..., float], x: Tensor, y: Tensor | None = None, permutations: int = 199, seed: int = 0
) -> Significance:
    """`p = (1 + #{null >= value}) / (1 + permutations)`, of a statistic that is large where there is dependence.

    Of two codes `(N, D)` and `(N, E)`, `null` are values of `statistic(x, y)` with the rows of y in random orders: how
    x and y depend on one another is lost, what is inside each is kept. Of x alone, values of `statistic(x)` with each
    column in an order of its own: all dependence between dimensions is lost.

    Exact where rows are independent draws: under no dependence `P(p <= a) <= a` for every a, whatever the statistic
    (Phipson and Smyth 2010; ties count against dependence). The smallest p is `1 / (1 + permutations)`. It does not see
    what the statistic does not, and of rows that are not independent, such as frames of one film, it is too small. The
    statistic is called `permutations + 1` times: `hsic_test` and `distance_correlation_test` are faster.
    """
    if y is None:
        values = [statistic(columns) for columns in (x, *_columns_apart(x, permutations, seed))]
    else:
        values = [statistic(x, y), *(statistic(x, y[order]) for order in orders(y, permutations, seed))]
    return against_null(torch.tensor(values, dtype=torch.float64))


def against_null(values: Tensor) -> Significance:
    """The first value among those of its null, which follow it.  Raises ValueError for values that are NaN."""
    if bool(values.isnan().any()):
        raise ValueError(
            f"a statistic to be tested is a number, got NaN for {int(values.isnan().sum())} orders of rows"
        )
    value, null = values[0], values[1:]
    largest = values.abs().nan_to_num(posinf=0.0).max()
    p = (1 + int((null >= value - TIE * largest).sum())) / (1 + len(null))
    return Significance(float(value), p)


def orders(rows: Tensor, permutations: int, seed: int) -> Tensor:
    """Random orders of the rows, `(permutations, N)` indices on their device: the same for a seed on every device."""
    _check(permutations)
    drawn = torch.rand(permutations, len(rows), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn.argsort(1).to(rows.device)


def _columns_apart(x: Tensor, permutations: int, seed: int) -> Iterator[Tensor]:
    """The rows `(N, D)` with each column in a random order of its own, again and again."""
    _check(permutations)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(permutations):
        drawn = torch.rand(x.shape, generator=generator, dtype=torch.float64)
        yield x.gather(0, drawn.argsort(0).to(x.device))


def _check(permutations: int) -> None:
    if permutations < 1:
        raise ValueError(f"a permutation test needs at least 1 permutation, got {permutations}: 199 resolve p = .005")
