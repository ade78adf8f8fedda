"""What kind of collapse codes have suffered, if any: several meters held against thresholds, and what usually helps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from ebm.meters import readings
from ebm.meters.codes import checked, checked_pair
from ebm.meters.kinds import ADVICE, ENOUGH, MEANING, MOST, SEVERITY, THRESHOLDS, WHY, Kind, Threshold
from ebm.meters.landscape import Scores, infers
from ebm.meters.neighbors import drawn
from ebm.meters.spectrum import singular_values

SHAPES: Mapping[Kind, tuple[str, ...]] = {
    "cluster": ("gap between clusters",),
    "dimensional": ("effective rank", "live directions", "drop in the spectrum"),
    "nonlinear": ("intrinsic dimension",),
}
OF_X = " of x"  # what a reading of hx is called more than one of hy


@final
@dataclass(frozen=True)
class Verdict:
    """The kinds of collapse that were found, the worst first, and the readings that were looked at."""

    kinds: tuple[Kind, ...]
    numbers: Mapping[str, float]
    thresholds: Mapping[str, Threshold]
    degrees: Mapping[Kind, float]
    """How far each kind is beyond its threshold: above 1 it is found; at most 100, 0 where it was not looked for."""

    @property
    def kind(self) -> Kind:
        """The worst of the kinds found; "none", or "too few samples" where that is all that can be said."""
        return self.kinds[0]

    @property
    def collapsed(self) -> bool:
        """Whether any kind of collapse was found."""
        return self.kind in SEVERITY

    @property
    def why(self) -> str:
        """What the worst kind means, and the readings that are beyond their thresholds."""
        beyond = [name for name, value in self.numbers.items() if _degree(name, value) > 1]
        found = ", ".join(f"{name} {self.numbers[name]:.3g} ({_bound(name)})" for name in beyond)
        return f"{WHY[self.kind]}: {found}" if found else WHY[self.kind]

    @property
    def advice(self) -> str:
        """What usually helps against the worst kind."""
        return ADVICE[self.kind]

    def __str__(self) -> str:
        lines = [f"collapse: {', '.join(self.kinds)}; {self.why}", *([f"try: {self.advice}"] if self.advice else [])]
        readings = [
            f"  {name:27s}{value:10.4g}  {_bound(name):10s} {MEANING[name.removesuffix(OF_X)]}"
            for name, value in self.numbers.items()
        ]
        return "\n".join([*lines, *readings])


@torch.no_grad()
def diagnose(F: Scores | None, hx: Tensor | None, hy: Tensor, rows: int = 1024) -> Verdict:
    """Which kinds of collapse the codes `hx`, `hy` of matching pairs show, as the energy F sees them.

    What is a kind of collapse (P is a point, up to the threshold of its spread):

    - `target`: one of hx and hy is P and the other not (a constant target, or a prediction that gave up); or both are P
      and of two branches, whose means differ by more than views through one network do (a moving average that went
      along); or neither is P, F has no latent and does not tell matching pairs from others (a frozen target that says
      nothing of x).
    - `complete`: hx and hy are P. Where F sees directions alone, which is tried on codes at random, so are spreads.
    - `latent`: F infers a latent, and does not tell matching pairs from others, or pairs that do not match lose nearly
      all of their energy by the latent.
    - `cluster`: hy has gaps: most codes have 8 neighbours or more far nearer than the next.
    - `dimensional`: of hy the effective rank is low for so many codes and dimensions, or directions are empty, or the
      spectrum drops and little is left beyond.
    - `nonlinear`: the intrinsic dimension of hy is far below that of normal codes of the same spectrum and number.

    hx is None, or has no features, for an energy of y alone. F may be None: then only what codes show is looked at.
    At most `rows` samples, drawn with a fixed seed. The last three are not looked for in P, nor a surface in clusters.
    Of fewer than 64 samples it says that these are too few, unless they are P. Deterministic; raises ValueError for
    codes that are not finite or of unlike numbers.

    What it cannot see: milder collapse than its thresholds (`benchmarks/results/verdicts.md` tells where it errs:
    a subspace in noise of a tenth, a surface of six dimensions, clusters of .4 of their distance); whether
    what is left is what a task needs; whether a subspace or surface is that of the data (compare with theirs); collapse
    of a representation before the projector, unless that is what it is given. Of codes of y that are the data it says
    what the data are. Classes far tighter than apart are clusters, and a frozen random branch, whose codes point much
    the same way, is a collapsed target to it, however useful either is. A latent takes a few solves of 128 rows.
    """
    seen = _Seen.of(F, hx, hy, rows)
    numbers = seen.spreads()
    point = {"y": _worst(numbers, lambda name: OF_X not in name), "x": _worst(numbers, lambda name: OF_X in name)}
    if seen.x is None:
        point["x"] = point["y"]
    degrees: dict[Kind, float] = dict.fromkeys(SEVERITY, 0.0)
    degrees["complete"], degrees["target"] = min(point.values()), max(point.values())
    few = len(seen.y) < ENOUGH
    if degrees["complete"] > 1:
        numbers |= seen.branches()
        degrees["target"] = _worst(numbers, lambda name: name == "branches apart")
    elif degrees["target"] <= 1 and not few:
        told = seen.landscape()
        numbers |= told
        degrees["latent" if "energy left of wrong pairs" in told else "target"] = _worst(told)
    if point["y"] <= 1 and not few:
        shape = seen.shape()
        numbers |= shape
        degrees |= {kind: _worst(shape, names.__contains__) for kind, names in SHAPES.items()}
    found = tuple(kind for kind in SEVERITY if degrees[kind] > 1)
    return Verdict(found or ("too few samples" if few else "none",), numbers, THRESHOLDS, degrees)


@final
@dataclass(frozen=True)
class _Seen:
    """Codes as they are to be read: in double precision, of so many samples, and as the energy sees them."""

    F: Scores | None
    given: tuple[Tensor | None, Tensor]
    x: Tensor | None
    y: Tensor
    directions: bool

    @classmethod
    def of(cls, F: Scores | None, hx: Tensor | None, hy: Tensor, rows: int) -> _Seen:
        hx = hx if hx is not None and hx.numel() else None
        y = checked(hy.flatten(1))
        if hx is not None:
            checked_pair(hx.flatten(1), y)
        some = drawn(len(y), rows).to(y.device)
        hx, hy, y = None if hx is None else hx[some], hy[some], y[some]
        x = None if hx is None else checked(hx.flatten(1))
        directions = hx is not None and F is not None and readings.directions_alone(F, hx, hy)
        return cls(F, (hx, hy), x, y, directions)

    def spreads(self) -> dict[str, float]:
        of_x = {} if self.x is None else self._spread(self.x)
        return self._spread(self.y) | {name + OF_X: value for name, value in of_x.items()}

    def branches(self) -> dict[str, float]:
        if self.x is None or self.x.shape != self.y.shape:
            return {}
        return {"branches apart": readings.branches_apart(self.x, self.y)}

    def landscape(self) -> dict[str, float]:
        hx, hy = self.given
        if self.F is None or hx is None:
            return {}
        numbers = {"energy tells pairs apart": readings.told_apart(self.F, hx, hy)}
        if infers(self.F, hx, hy):
            numbers["energy left of wrong pairs"] = readings.left_of_wrong_pairs(self.F, hx, hy)
        return numbers

    def shape(self) -> dict[str, float]:
        y = readings.seen(self.y, self.directions)
        y = y / y.abs().max()  # not zero, or it were a point; squares of codes near 1e300 are infinite
        values = singular_values(y)
        numbers = {
            "gap between clusters": readings.gap(y),
            "effective rank": readings.effective_share(values, y),
            "live directions": readings.live_share(values, y),
            "drop in the spectrum": readings.drop(values, y),
        }
        # Within a cluster, neighbours tell the dimension of its noise.
        if _worst(numbers, SHAPES["cluster"].__contains__) <= 1:
            numbers["intrinsic dimension"] = readings.surface_share(values, y)
        return numbers

    def _spread(self, codes: Tensor) -> dict[str, float]:
        if self.directions:
            return {"spread of directions": readings.relative_spread(readings.seen(codes, True))}
        return {
            "length of the spread": readings.length_of_spread(codes),
            "relative spread": readings.relative_spread(codes),
        }


def _worst(numbers: Mapping[str, float], named: Callable[[str], bool] = lambda name: True) -> float:
    """How far the worst of the readings of such names is beyond its threshold; 0 for none."""
    return max((_degree(name, value) for name, value in numbers.items() if named(name)), default=0.0)


def _degree(name: str, value: float) -> float:
    limit, above = THRESHOLDS[name.removesuffix(OF_X)]
    high, low = (value, limit) if above else (limit, value)
    return min(MOST, high / low) if low > 0 else MOST


def _bound(name: str) -> str:
    limit, above = THRESHOLDS[name.removesuffix(OF_X)]
    return f"{'>' if above else '<'} {limit:.3g}"
