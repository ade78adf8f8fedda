"""Where the energy is low, and where it is not."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ebm.free_energy import FreeEnergy

ROWS = 1024  # samples that are looked at, the first ones
OTHERS = 8  # mismatched y for each x, where each of them takes a solve


class Scores(Protocol):
    """What a meter needs of a free energy: `F(hx, hy) -> (batch,)` and all its pairs."""

    def __call__(self, hx: Tensor, hy: Tensor) -> Tensor:
        """Energies of matching rows."""

    def pairs(self, hx: Tensor, hy: Tensor) -> Tensor:
        """Energies `(n, m)` of all rows with all rows."""


def energy_gap(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """Mean energy of matching and of mismatched pairs, and how often the matching one is lower (AUROC, ties half).

    Over at most the first 1,024 samples; where a latent is inferred, of each x with 8 other y instead of with all,
    since each pair is a solve. The two means have the units of the energy and compare within one energy only; `auroc`
    has none: 0.5 where the energy does not tell them apart, as when it has collapsed.
    """
    hx, hy = hx[:ROWS], hy[:ROWS]
    matching, mismatched = _few_pairs(F, hx, hy) if infers(F, hx, hy) else _all_pairs(F, hx, hy)
    return {
        "energy_matching": float(matching.mean()),
        "energy_mismatched": float(mismatched.mean()) if len(mismatched) else float("nan"),
        "auroc": share_below(matching, mismatched),
    }


@torch.no_grad()
def contrast(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """How the energies of matching y differ from those of three references, at most 1,024 of each; the codes do.

    `mismatched` is the y of another sample; `permuted` has each feature of another sample, so that no x has it though
    each of its features is usual; `uniform` is drawn from the box that the codes of y span. For each of them: `auroc`,
    how often a matching y has less energy (ties half; 0.5 if the energy tells nothing); `volume`, the share of the
    reference below the 95 % quantile of the matching energies (0 to 1, which is an energy that is low everywhere);
    `flatness` (see there). All are free of the energy's unit and zero.

    Blind to a y that is impossible in another way: draws from a box of many dimensions are far from any data, so that
    `auroc_uniform` is near 1 for almost any energy that has learned something, and `permuted` is as far where features
    depend on each other. A code of y that has shrunk to a point gives references that are that point: 0.5, 1 and 1.
    """
    hx, hy = hx[:ROWS], hy[:ROWS]
    matching = _energies(F, hx, hy)
    found = {}
    for name, codes in references(hy).items():
        energies = _energies(F, hx, codes)
        found[f"auroc_{name}"] = share_below(matching, energies)
        found[f"volume_{name}"] = volume(matching, energies)
        found[f"flatness_{name}"] = flatness(matching, energies)
    return found


def slope(F: Scores, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """`slope_ratio = r(hy) / r(permuted hy)`, `r` the root mean square over samples of `|dF/dhy|`.

    0: data lie at the bottom of valleys, as they should where energies are distances. 1: the energy is no flatter or
    steeper at the data than where each feature is that of another sample, and so for a constant. It has no unit. Blind
    to how high the energy is in either place: `contrast` sees that. At most 1,000,000.
    """
    hx, hy = hx[:ROWS], hy[:ROWS]
    at_data, elsewhere = _steepness(F, hx, hy), _steepness(F, hx, references(hy)["permuted"])
    return {"slope_ratio": min(at_data / elsewhere, 1e6) if elsewhere > 0 else 1.0 if at_data == 0 else 1e6}


def references(hy: Tensor) -> dict[str, Tensor]:
    """Codes `(N, ...)` such as no x, or another x, has: `mismatched`, `permuted` and `uniform`, the same at each call.

    What they are: see `contrast`. Drawn on the CPU, so that they are the same on any device.
    """
    generator = torch.Generator().manual_seed(0)
    rows = hy.flatten(1)
    order = torch.rand(rows.shape, generator=generator).argsort(0).to(hy.device)
    low, high = rows.amin(0), rows.amax(0)
    places = torch.rand(rows.shape, generator=generator, dtype=torch.float64).to(rows)
    return {
        "mismatched": hy[others(len(hy)).to(hy.device)],
        "permuted": rows.gather(0, order).view_as(hy),
        # Not low + places (high - low), whose difference overflows where codes are as large as their dtype allows.
        "uniform": ((1 - places) * low + places * high).view_as(hy),
    }


def others(count: int) -> Tensor:
    """For each of so many samples another one, each of them once; the same at each call. Itself where there is one."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    return torch.empty_like(order).index_copy_(0, order, order.roll(1))


def share_below(low: Tensor, high: Tensor) -> float:
    """`P(low < high) + P(low = high) / 2`, by sorting."""
    ordered = high.sort().values
    below = torch.searchsorted(ordered, low)
    not_above = torch.searchsorted(ordered, low, right=True)
    return float(1 - (below + not_above).double().mean() / (2 * len(high))) if len(high) else float("nan")


def volume(matching: Tensor, reference: Tensor, quantile: float = 0.95) -> float:
    """The share of the reference's energies that are not above the `quantile` of the matching ones.

    For a good energy 0, `quantile` for one that does not tell the two apart, 1 for a constant.
    """
    highest = torch.quantile(matching, quantile, interpolation="higher")
    return float((reference <= highest).double().mean())


def flatness(matching: Tensor, reference: Tensor) -> float:
    """`(v + w) / (v + w + (m - n)^2 / 2)` of energies with means `m, n` and variances `v, w`.

    One minus the correlation ratio (Pearson 1905): the share of the variance of energies, half of them matching, that
    is not due to whether they match. From 0, two levels far apart, to 1, a landscape on which matching pairs are no
    lower than others on average; 1 for a constant. Free of the energy's unit and zero. Unlike an AUROC it sees how far
    apart they are, and one energy that is far off can make it 1.
    """
    scale = torch.cat([matching, reference]).abs().amax()
    if not 0 < float(scale) < float("inf"):  # all of them zero, or some infinite
        return 1.0
    (v, m), (w, n) = (torch.var_mean(energies / scale, correction=0) for energies in (matching, reference))
    within, between = float(v + w), float((m - n).square() / 2)
    rounding = torch.finfo(torch.float64).eps  # of energies that are all the same
    return within / (within + between) if within + between > rounding**2 else 1.0


def infers(F: Scores, hx: Tensor, hy: Tensor) -> bool:
    """Whether F is the free energy of an energy that has a latent."""
    return isinstance(F, FreeEnergy) and F.energy.latent(hx[:1], hy[:1]) is not None


def _all_pairs(F: Scores, hx: Tensor, hy: Tensor) -> tuple[Tensor, Tensor]:
    pairs = F.pairs(hx, hy).detach().double()
    same = torch.eye(len(pairs), dtype=torch.bool, device=pairs.device)
    return pairs[same], pairs[~same]


@torch.no_grad()
def _few_pairs(F: Scores, hx: Tensor, hy: Tensor) -> tuple[Tensor, Tensor]:
    """Matching energies `(n,)`, and of each x with the next y in turn."""
    shifts = range(1, min(OTHERS, len(hy) - 1) + 1)
    shifted = [_energies(F, hx, hy.roll(shift, 0)) for shift in shifts]
    return _energies(F, hx, hy), torch.cat([hy.new_empty(0, dtype=torch.float64), *shifted])


def _energies(F: Scores, hx: Tensor, hy: Tensor) -> Tensor:
    """In double precision; one that is not a number counts as infinite."""
    return F(hx, hy).detach().double().nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _steepness(F: Scores, hx: Tensor, hy: Tensor) -> float:
    with torch.enable_grad():
        leaf = hy.detach().requires_grad_()
        energy = F(hx.detach(), leaf)
        if not energy.requires_grad:  # a constant
            return 0.0
        (gradient,) = torch.autograd.grad(energy.sum(), leaf, materialize_grads=True)
    squares = gradient.double().nan_to_num().flatten(1).square().sum(1)
    return float(squares.mean().sqrt())
