"""Where the energy is low, and where it is not."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Scores(Protocol):
    """What a meter needs of a free energy: `F(hx, hy) -> (batch,)` and all its pairs."""

    def __call__(self, hx: Tensor, hy: Tensor) -> Tensor:
        """Energies of matching rows."""

    def pairs(self, hx: Tensor, hy: Tensor) -> Tensor:
        """Energies `(n, m)` of all rows with all rows."""


def energy_gap(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Mean energy of matching and of mismatched pairs, and how often the matching one is lower (AUROC, ties half).

    Over at most the first 1,024 samples. The two means have the units of the energy and compare within one energy
    only; `auroc` has none: 0.5 where the energy does not tell them apart, as when it has collapsed.
    """
    hx, hy = hx[:1024], hy[:1024]
    pairs = F.pairs(hx, hy).detach().double()
    same = torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)
    matching, mismatched = pairs[same], pairs[~same]
    return {
        "energy_matching": float(matching.mean()),
        "energy_mismatched": float(mismatched.mean()) if len(mismatched) else float("nan"),
        "auroc": share_below(matching, mismatched),
    }


def share_below(low: Tensor, high: Tensor) -> float:
    """`P(low < high) + P(low = high) / 2`, by sorting."""
    ordered = high.sort().values
    below = torch.searchsorted(ordered, low)
    not_above = torch.searchsorted(ordered, low, right=True)
    return float(1 - (below + not_above).double().mean() / (2 * len(high))) if len(high) else float("nan")
