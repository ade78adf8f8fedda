"""Sets that a latent is kept in: how to reach them, and what a minimum on their boundary looks like."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor


class Constraint(ABC):
    """A set that `z` is kept in. It acts on the last axis: `z` is `(*batch, D)`, and so are directions and gradients.

    `project` is all that a first-order solver needs. `tangent` tells when it has arrived; `free` and `curvature` tell
    second-order solvers and derivatives of the minimum that, on the face where it lies, it solves
    `(Q H Q + K) dz = -Q d(dE/dz)`, with `H` the Hessian of `E`, `Q` from `free` and `K` from `curvature`.

    A NaN in `z` stays one, in its row if not in its place; so does an infinity that has no nearest point.
    """

    @abstractmethod
    def project(self, z: Tensor) -> Tensor:
        """`argmin_u |u - z|` over the set. What is in the set returns bit for bit, and so does what was projected."""

    @abstractmethod
    def tangent(self, z: Tensor, v: Tensor) -> Tensor:
        """`lim (project(z + t v) - z) / t` as `t -> 0+`: what of `v` can be followed from `z`, which is in the set.

        This is the projection on the tangent cone. `-tangent(z, -gradient)` is the projected gradient of Calamai and
        Moré 1987: zero at stationary points, and nowhere else.
        """

    @abstractmethod
    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        """`Q v`: of `v`, what runs along the face on which a minimum at `z` with that gradient lies.

        `Q` is a symmetric, idempotent, linear map. A coordinate that the gradient pushes against its bound is held.
        """

    def curvature(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        """`K v`: what the boundary adds to the Hessian of the Lagrangian, `K = Q K Q`; zero where faces are flat."""
        return torch.zeros_like(v)

    def check(self, z: Tensor) -> None:
        """Raise ValueError where the set is empty or does not fit `z`."""
        return


@final
@dataclass(frozen=True, eq=False)
class Box(Constraint):
    """`lower <= z <= upper`, exactly: bounds are rounded to the dtype of `z` first.

    A bound is a number or a tensor that broadcasts to the last axes of `z`, and may be infinite. Equal bounds fix a
    coordinate.
    """

    lower: float | Tensor
    upper: float | Tensor

    def project(self, z: Tensor) -> Tensor:
        return torch.clamp(z, *self._bounds(z))

    def tangent(self, z: Tensor, v: Tensor) -> Tensor:
        lower, upper = self._bounds(z)
        v = torch.where(z <= lower, v.clamp_min(0), v)
        return torch.where(z >= upper, v.clamp_max(0), v)

    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        lower, upper = self._bounds(z)
        below, above = (z <= lower) & (gradient > 0), (z >= upper) & (gradient < 0)
        return torch.where(below | above | (lower == upper), 0, v)

    def check(self, z: Tensor) -> None:
        for name, bound in (("lower", self.lower), ("upper", self.upper)):
            _check_bound(name, bound, z)
        lower, upper = self._bounds(z)
        empty = (lower > upper) | (lower == math.inf) | (upper == -math.inf)
        if bool(empty.any()):
            raise ValueError(
                f"the box is empty: `lower` leaves no number below `upper` in {int(empty.sum())} of {empty.numel()}"
                " bounds; swap them, or give equal ones to fix a coordinate"
            )

    def _bounds(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return _like(self.lower, z), _like(self.upper, z)


@final
@dataclass(frozen=True)
class NonNegative(Constraint):
    """`z >= 0`, exactly."""

    def project(self, z: Tensor) -> Tensor:
        return z.clamp_min(0)

    def tangent(self, z: Tensor, v: Tensor) -> Tensor:
        return torch.where(z <= 0, v.clamp_min(0), v)

    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        return torch.where((z <= 0) & (gradient > 0), 0, v)


@final
@dataclass(frozen=True)
class Simplex(Constraint):
    """`z >= 0` exactly, and `|sum(z) - total| <= s total` with `s` of 32 eps, or of 1 eps in half precision.

    By sorting (Held, Wolfe and Crowder 1974; Duchi et al. 2008, fig. 1). Sums are taken in float32 at least.
    """

    total: float = 1.0

    def project(self, z: Tensor) -> Tensor:
        wide = _wide(z)
        # Neither a shift of all nor raising those that will be zero moves the nearest point, and sums stay small.
        shifted = (wide - wide.detach().amax(-1, keepdim=True)).clamp_min(-self.total)
        nearest = _lowered(shifted, torch.zeros_like(shifted, dtype=torch.bool), self.total).relu()
        nearest = nearest * (self.total / nearest.sum(-1, keepdim=True))
        off = (wide.sum(-1, keepdim=True) - self.total).abs()
        inside = (wide >= 0).all(-1, keepdim=True) & (off <= 0.9 * _slack(z) * self.total)
        return _unless(inside, z, nearest.to(z.dtype))

    def tangent(self, z: Tensor, v: Tensor) -> Tensor:
        positive = z > 0
        lowered = _lowered(v, positive, 0.0)
        return torch.where(positive, lowered, lowered.relu())

    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        positive = z > 0
        free = positive | (_lowered(-gradient, positive, 0.0) >= 0)
        mean = torch.where(free, v, 0).sum(-1, keepdim=True) / free.sum(-1, keepdim=True).clamp_min(1)
        return torch.where(free, v - mean, 0)

    def check(self, z: Tensor) -> None:
        _check_features("simplex", z)
        _check_positive("total", self.total, "simplex")


@final
@dataclass(frozen=True)
class Sphere(Constraint):
    """`|z| = radius`, up to 32 eps of it, or 1 eps in half precision; a row of zeros goes to the first axis.

    Curvature: `K = -(gradient . z) / radius^2 Q` (Absil, Mahony and Sepulchre 2008).
    """

    radius: float = 1.0

    def project(self, z: Tensor) -> Tensor:
        wide = _wide(z)
        first = torch.arange(z.shape[-1], device=z.device) == 0
        unit, norm = _polar(torch.where((wide == 0).all(-1, keepdim=True), first.to(wide.dtype), wide))
        inside = ((norm - self.radius).abs() <= 0.9 * _slack(z) * self.radius) & (wide != 0).any(-1, keepdim=True)
        return _unless(inside, z, (self.radius * unit).to(z.dtype))

    def tangent(self, z: Tensor, v: Tensor) -> Tensor:
        return _across(_polar(z)[0], v)

    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        return _across(_polar(z)[0], v)

    def curvature(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        unit, _ = _polar(z)
        return -_dot(gradient, unit) / self.radius * _across(unit, v)

    def check(self, z: Tensor) -> None:
        _check_features("sphere", z)
        _check_positive("radius", self.radius, "sphere")


@final
@dataclass(frozen=True)
class Ball(Constraint):
    """`|z| <= radius`, the Euclidean norm exactly as `torch.linalg.vector_norm` computes it in the dtype of `z`.

    What is within 32 eps of the radius counts as on the boundary, since a projected point may not reach it.
    """

    radius: float = 1.0

    def project(self, z: Tensor) -> Tensor:
        unit, _ = _polar(_wide(z))
        nearest, eps = z, torch.finfo(z.dtype).eps
        # Rounding may leave a norm a little too long. The last margin is what D roundings, all one way, amount to.
        for margin in (0, 4, 16, 16 + z.shape[-1]):
            outside = torch.linalg.vector_norm(nearest, dim=-1, keepdim=True) > self.radius
            inner = (max(0.5, 1 - margin * eps) * self.radius * unit).to(z.dtype)
            nearest = torch.where(outside, inner, nearest)
        return nearest

    def tangent(self, z: Tensor, v: Tensor) -> Tensor:
        unit, norm = _polar(z)
        outward = _dot(v, unit).relu() * unit
        return torch.where(self._at_boundary(norm), v - outward, v)

    def free(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        unit, held = self._held(z, gradient)
        return torch.where(held, _across(unit, v), v)

    def curvature(self, z: Tensor, gradient: Tensor, v: Tensor) -> Tensor:
        unit, held = self._held(z, gradient)
        return torch.where(held, -_dot(gradient, unit) / self.radius * _across(unit, v), 0)

    def check(self, z: Tensor) -> None:
        _check_features("ball", z)
        _check_positive("radius", self.radius, "ball")

    def _held(self, z: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        unit, norm = _polar(z)
        return unit, self._at_boundary(norm) & (_dot(gradient, unit) < 0)

    def _at_boundary(self, norm: Tensor) -> Tensor:
        return norm >= (1 - 32 * torch.finfo(norm.dtype).eps) * self.radius


def _lowered(v: Tensor, kept: Tensor, total: float) -> Tensor:
    """`v - t` with the `t` for which that, cut off at zero where `kept` is false, sums to `total`."""
    keys, order = torch.where(kept, math.inf, v).sort(-1, descending=True)
    counts = torch.arange(1, v.shape[-1] + 1, device=v.device, dtype=v.dtype)
    thresholds = (v.gather(-1, order).cumsum(-1) - total) / counts
    last = (keys > thresholds).sum(-1, keepdim=True).clamp_min(1) - 1
    lowered = v - thresholds.gather(-1, last)
    # Newton steps on what is left of v: next to a large v, the threshold itself has too few digits for the others.
    for _ in range(2):
        active = kept | (lowered > 0)
        left_over = torch.where(active, lowered, 0).sum(-1, keepdim=True) - total
        lowered = lowered - left_over / active.sum(-1, keepdim=True).clamp_min(1)
    return lowered


def _polar(z: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors and norms `(*batch, 1)`, whatever the scale of `z`; for a row of zeros, zeros."""
    largest = z.detach().abs().amax(-1, keepdim=True)
    scaled = z / torch.where(largest > 0, largest, 1)
    norm = scaled.square().sum(-1, keepdim=True).clamp_min(1).sqrt()
    return scaled / norm, norm.detach() * largest


def _unless(inside: Tensor, z: Tensor, nearest: Tensor) -> Tensor:
    """`nearest`, but where `inside` the value of `z` to the last bit; with the derivative of `nearest` everywhere."""
    return torch.where(inside, z.detach() - (nearest.detach() - nearest), nearest)


def _wide(z: Tensor) -> Tensor:
    return z.to(torch.promote_types(z.dtype, torch.float32))


def _slack(z: Tensor) -> float:
    """How far rounding may put the norm or the sum of what was projected, relative to what it should be."""
    return max(32 * torch.finfo(_wide(z[..., :0]).dtype).eps, torch.finfo(z.dtype).eps)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)


def _across(unit: Tensor, v: Tensor) -> Tensor:
    return v - _dot(v, unit) * unit


def _like(bound: float | Tensor, z: Tensor) -> Tensor:
    return torch.as_tensor(bound, dtype=z.dtype, device=z.device)


def _check_bound(name: str, bound: float | Tensor, z: Tensor) -> None:
    values = torch.as_tensor(bound)
    if values.requires_grad:
        raise ValueError(
            f"`{name}` requires grad, but derivatives of a minimum take the set as fixed: pass `{name}.detach()`, or"
            " let the energy map a latent in a fixed box to the one you want"
        )
    if bool(values.isnan().any()):
        raise ValueError(f"`{name}` holds {int(values.isnan().sum())} NaN: write -inf or inf for no bound")
    trailing = z.shape[len(z.shape) - values.ndim :] if values.ndim <= z.ndim else None
    fits = trailing is not None and all(b in (1, d) for b, d in zip(values.shape, trailing, strict=True))
    if not fits:
        raise ValueError(
            f"`{name}` of shape {tuple(values.shape)} does not broadcast to the last axes of z, whose shape is"
            f" {tuple(z.shape)}: give a number, or a tensor of shape {tuple(z.shape[-1:])}"
        )


def _check_positive(name: str, value: float, kind: str) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"the `{name}` of a {kind} is positive and finite, not {value}")


def _check_features(kind: str, z: Tensor) -> None:
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"a {kind} needs coordinates on the last axis of z, whose shape is {tuple(z.shape)}")
