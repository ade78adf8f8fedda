"""What Newton and Gauss-Newton share: a quadratic model for each sample, damped where it promises too much."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.func import vjp, vmap

from ebm.solvers.line_search import NOISE, accepts, choose
from ebm.solvers.solver import Point, Problem

DECREASE = 1e-4  # of what the slope promised, for a step to be taken
LADDER = 6  # shifts that are tried, each four times the one before, up to the size of the matrix itself


class Model(NamedTuple):
    """The curvature of each sample's energy, and the damping that kept its last step where the model holds."""

    curvature: Tensor  # (N, D, D), symmetric
    damping: Tensor  # (N,), added to the diagonal
    growth: Tensor  # (N,), of the damping at the next refusal


def model_of(curvature: Tensor, damping: float) -> Model:
    """A model that starts with a damping of this share of the size of its matrix."""
    finite = _finite(curvature)
    size = _size(finite)
    return Model(finite, damping * size, torch.full_like(size, 2))


def damped_step(
    problem: Problem, point: Point, model: Model, curvature_at: Callable[[Tensor], Tensor]
) -> tuple[Point, Model]:
    """`z <- z - (B + damping)^-1 slope` where it lowers the energy; the damping follows the gain (Nielsen 1999).

    `B` is the curvature on the free face of the constraints, shifted until it is positive definite. It is a constant
    to derivatives through the step, which are exact at a minimum all the same.
    """
    with torch.no_grad():
        matrix = _on_face(problem, point, model.curvature)
        factor, damping = _factor(matrix, model.damping)
    slope = problem.slope(point)
    trial = problem(point.z - torch.cholesky_solve(slope[..., None], factor)[..., 0])
    taken = accepts(problem, point, trial, DECREASE)
    with torch.no_grad():
        gain = _gain(problem, point, trial, slope, matrix)
        damping, growth = _adapted(taken, gain, damping, model.growth, _size(matrix))
        curvature = torch.where(taken[:, None, None], _finite(curvature_at(trial.z)), model.curvature)
    return choose(taken, trial, point), Model(curvature, damping, growth)


def every_product(outputs: Tensor, inputs: Tensor) -> Tensor:
    """`d outputs[:, k] / d inputs` for each k, `(K, N, D)`, of recorded rows (N, K) and (N, D), without a graph.

    All in one batched backward pass, or one by one where some step of the energy cannot be batched.
    """
    if not outputs.requires_grad:
        return inputs.new_zeros(outputs.shape[1], *inputs.shape)
    directions = axes(outputs)

    def products(directions: Tensor, batched: bool) -> Tensor:
        (found,) = torch.autograd.grad(
            outputs, inputs, directions, retain_graph=True, is_grads_batched=batched, materialize_grads=True
        )
        return found.detach()

    try:
        return products(directions, batched=True)
    except RuntimeError:
        return torch.stack([products(direction, batched=False) for direction in directions])


def every_product_retraced(fn: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """The same for `fn` at the rows z, for inference mode, where nothing can be recorded."""
    outputs, pull = vjp(fn, z)[:2]
    return cast(Tensor, vmap(pull)(axes(outputs))[0])


def axes(like: Tensor) -> Tensor:
    """Each axis of the rows (N, K), for all of them: `(K, N, K)`."""
    n, k = like.shape
    return torch.eye(k, dtype=like.dtype, device=like.device)[:, None].expand(k, n, k)


def _on_face(problem: Problem, point: Point, curvature: Tensor) -> Tensor:
    """`Q H Q + K + c (1 - Q)`, which acts along the face as the energy's curvature on it does."""
    if problem.domain is None:
        return curvature
    n, d = point.z.shape
    z, gradient = point.z.repeat(d, 1), point.gradient.repeat(d, 1)
    free = problem.domain.free(z, gradient, axes(point.z).reshape(d * n, d))
    bend = problem.domain.curvature(z, gradient, free)
    q, k = (_finite(rows.reshape(d, n, d).transpose(0, 1)) for rows in (free, bend))
    along = q @ curvature @ q + k
    across = torch.eye(d, dtype=q.dtype, device=q.device) - q
    return along + _size(along)[:, None, None] * across  # as large as the rest, which is damped by its own size


def _factor(matrix: Tensor, damping: Tensor) -> tuple[Tensor, Tensor]:
    """The Cholesky factors of the matrices with the least damping tried that makes them positive definite."""
    size = _size(matrix)
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    used, (factor, info) = damping, torch.linalg.cholesky_ex(matrix + damping[:, None, None] * identity)
    for rung in range(LADDER):
        failed = info > 0
        used = torch.where(failed, damping + 1.01 * 4.0 ** (rung + 1 - LADDER) * size, used)
        factor, info = torch.linalg.cholesky_ex(matrix + used[:, None, None] * identity)
    return factor, used


def _gain(problem: Problem, point: Point, trial: Point, slope: Tensor, matrix: Tensor) -> Tensor:
    """What the energy fell by, as a share of what the model without damping had promised.

    Between energies that rounding makes equal it is told from the gradients at both ends.
    """
    move = trial.z - point.z
    promised = -(move * (slope + (matrix @ move[..., None])[..., 0] / 2)).sum(-1)
    told = -((point.gradient + trial.gradient) * move).sum(-1) / 2
    fell = point.energy - trial.energy
    fell = torch.where(fell.abs() <= NOISE * problem.resolution * point.energy.abs(), told, fell)
    return torch.where(promised > 0, fell / promised, 0)


def _adapted(taken: Tensor, gain: Tensor, damping: Tensor, growth: Tensor, size: Tensor) -> tuple[Tensor, Tensor]:
    """Less damping after a good step, more after a poor one, and faster so at each refusal in a row."""
    kept = torch.where(gain > 0.75, damping / 4, torch.where(gain < 0.25, 2 * damping, damping))
    raised = torch.maximum(damping, 1e-3 * size) * growth
    return torch.where(taken, kept, raised), torch.where(taken, 2, 2 * growth)


def _size(matrix: Tensor) -> Tensor:
    """The largest sum of magnitudes in a row, which no eigenvalue exceeds, `(N,)`; of zeros, one."""
    size = matrix.abs().sum(-1).amax(-1)
    return torch.where(size > 0, size, 1)


def _finite(matrix: Tensor) -> Tensor:
    return torch.where(matrix.isfinite(), matrix, 0)
