"""A memory of codes: keys, values, and an energy that is low where a query and a value go with what was stored."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.energies.costs import Cost, Imagined


class Memory(NamedTuple):
    """So many pairs of a key and a value for each of a batch, the latest last; it changes by making another.

    `F(q, v) = -1/beta log sum_n exp(-beta (w |q - k_n|^2 + |v - v_n|^2))` is what a plan consults: a soft minimum over
    all that is stored, whose slope leads to the stored pair that is nearest. Of the key alone it is the energy of a
    dense associative memory, and `read` one step of its retrieval (Ramsauer et al. 2021, 2008.02217, with distances in
    the place of products, as in Krotov and Hopfield 2021). Distances are means over features.
    """

    keys: Tensor
    """`(*batch, slots, key features)`."""
    values: Tensor
    """`(*batch, slots, features)`."""
    filled: Tensor
    """1 where something is stored, 0 else, `(*batch, slots)`."""

    @classmethod
    def empty(cls, slots: int, key: Tensor, value: Tensor) -> Memory:
        """Nothing yet, for keys `(*batch, key features)` and values `(*batch, features)` such as these."""
        if slots < 1:
            raise ValueError(f"a memory has at least 1 slot, not {slots}")
        batch = key.shape[:-1]
        keys, values = (part.new_zeros(*batch, slots, part.shape[-1]) for part in (key, value))
        return cls(keys, values, value.new_zeros(*batch, slots))

    def stored(self, key: Tensor, value: Tensor, where: Tensor | None = None) -> Memory:
        """With one more pair, for the oldest; only `where` (*batch) says so."""
        shape, expected = (key.shape, value.shape), (self.keys[..., 0, :].shape, self.values[..., 0, :].shape)
        if shape != expected:
            raise ValueError(
                f"this memory stores keys {tuple(expected[0])} and values {tuple(expected[1])}, got {tuple(shape[0])}"
                f" and {tuple(shape[1])}"
            )
        keys, values = (_shifted(old, new) for old, new in ((self.keys, key), (self.values, value)))
        filled = _shifted(self.filled[..., None], self.filled.new_ones(*self.filled.shape[:-1], 1))[..., 0]
        if where is None:
            return Memory(keys, values, filled)
        gate = where[..., None]
        return Memory(
            torch.where(gate[..., None], keys, self.keys),
            torch.where(gate[..., None], values, self.values),
            torch.where(gate, filled, self.filled),
        )

    def energy(self, query: Tensor, value: Tensor, sharpness: float = 10.0, weight: float = 10.0) -> Tensor:
        """F `(*batch,)` of queries `(*batch, key features)` and values `(*batch, features)`; 0 of an empty memory."""
        apart = weight * self._apart(query) + (value[..., None, :] - self.values).square().mean(-1)
        return self._soft_least(apart, sharpness)

    def familiarity(self, value: Tensor, sharpness: float = 10.0) -> Tensor:
        """`sum_n exp(-beta |v - v_n|^2)`, `(*batch,)`: how many stored values are near."""
        apart = (value[..., None, :] - self.values).square().mean(-1)
        return (self.filled * torch.exp(-sharpness * apart)).sum(-1)

    def read(self, query: Tensor, sharpness: float = 10.0) -> Tensor:
        """`sum_n softmax_n(-beta |q - k_n|^2) v_n`, `(*batch, features)`; zeros where nothing is stored."""
        scores = torch.where(self.filled > 0, -sharpness * self._apart(query), -torch.inf)
        some = (self.filled > 0).any(-1, keepdim=True)
        shares = torch.where(some, scores, 0).softmax(-1)
        return torch.where(some, (shares[..., None, :] @ self.values)[..., 0, :], 0)

    def packed(self, query: Tensor) -> Tensor:
        """The query and all that is stored side by side, `(*batch, numbers)`: what `Recalled` is given as a goal."""
        return torch.cat([query, self.keys.flatten(-2), self.values.flatten(-2), self.filled], -1)

    def _apart(self, query: Tensor) -> Tensor:
        return (query[..., None, :] - self.keys).square().mean(-1)

    def _soft_least(self, apart: Tensor, sharpness: float) -> Tensor:
        scores = torch.where(self.filled > 0, -sharpness * apart, -torch.inf)
        some = (self.filled > 0).any(-1)
        finite = torch.where(some[..., None], scores, 0)  # so that no slope is NaN where nothing is stored
        return torch.where(some, -finite.logsumexp(-1) / sharpness, 0)


def unpacked(packed: Tensor, slots: int, features: int) -> tuple[Tensor, Memory]:
    """The query and the memory of `(*batch, numbers)` that were packed, for values of so many features."""
    keyed = (packed.shape[-1] - slots * (features + 1)) / (slots + 1)
    if keyed != int(keyed) or keyed < 1:
        raise ValueError(
            f"{packed.shape[-1]} numbers are no memory of {slots} slots with values of {features} features: the goal of"
            " a plan that recalls is `memory.packed(query)`"
        )
    sizes = [int(keyed), slots * int(keyed), slots * features, slots]
    query, keys, values, filled = packed.split(sizes, -1)
    return query, Memory(keys.unflatten(-1, (slots, -1)), values.unflatten(-1, (slots, -1)), filled)


@final
class Recalled(Cost):
    """`sum_t F(query, code_t)`: go where that was which goes with the query. The goal is `Memory.packed(query)`.

    Where keys match equally well, the nearest of their values is as good as any; where nothing is stored, all plans
    are equal. `weight` is what a key costs that does not match, in units of distances between codes.
    """

    def __init__(self, slots: int, sharpness: float = 10.0, weight: float = 10.0) -> None:
        super().__init__()
        _check(sharpness=sharpness, weight=weight)
        self.slots, self.sharpness, self.weight = slots, sharpness, weight

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        if goal is None:
            raise ValueError("a plan that recalls needs a memory: give `memory.packed(query)` as the code of its goal")
        query, memory = unpacked(goal[..., None, :], self.slots, imagined.codes.shape[-1])
        return memory.energy(query, imagined.codes, self.sharpness, self.weight).sum(-1)


@final
class Visited(Cost):
    """`sum_t sum_n exp(-beta |code_t - v_n|^2)`: an intrinsic cost of going where one has been.

    Keys do not matter to it. The goal is `Memory.packed(query)`, of any query.
    """

    def __init__(self, slots: int, sharpness: float = 10.0) -> None:
        super().__init__()
        _check(sharpness=sharpness)
        self.slots, self.sharpness = slots, sharpness

    def forward(self, imagined: Imagined, goal: Tensor | None) -> Tensor:
        if goal is None:
            raise ValueError("what was visited is in a memory: give `memory.packed(query)` as the code of the goal")
        _, memory = unpacked(goal[..., None, :], self.slots, imagined.codes.shape[-1])
        return memory.familiarity(imagined.codes, self.sharpness).sum(-1)


def _shifted(old: Tensor, new: Tensor) -> Tensor:
    return torch.cat([old[..., 1:, :], new[..., None, :]], -2)


def _check(**settings: float) -> None:
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be positive and finite, got {value}")
