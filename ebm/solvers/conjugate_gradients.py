"""Nonlinear conjugate gradients with a line search for each sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor

from ebm.solvers.line_search import accepts, choose, first_length
from ebm.solvers.solver import Point, Problem, Solver, State


class Memory(NamedTuple):
    """The line that each sample searches along, and the slope where the line began."""

    direction: Tensor  # (N, D)
    length: Tensor  # (N,) of the step to try next along the direction
    slope: Tensor  # (N, D)


@final
@dataclass(frozen=True)
class NonlinearConjugateGradients(Solver):
    """`d <- -slope + b d` with the `b` of Hager and Zhang 2005 (eq. 1.3 to 1.6): leads down, for little memory.

    A line is searched by secants: each trial that lowers the energy (Armijo 1966, up to rounding) is where the search
    goes on, with the step that the curvature just met asks for, until the slope along the line has fallen to the share
    `flatness` of what it was. The same curvature gives the first trial of the next line. Each sample is at its own
    place in its own search: a step is one evaluation. Under constraints the directions are those of the free face.
    """

    flatness: float = 0.3
    steps: int = 1000
    tolerance: float = 1e-4
    patience: int = 50
    decrease: float = 1e-4
    shrink: float = 0.5

    def init(self, problem: Problem, point: Point) -> State:
        slope = problem.slope(point)
        return Memory(-slope, first_length(slope), slope)

    def step(self, problem: Problem, point: Point, state: State) -> tuple[Point, State]:
        memory = Memory(*state)
        trial = problem(torch.addcmul(point.z, memory.length[:, None], memory.direction))
        taken = accepts(problem, point, trial, self.decrease)
        after = choose(taken, trial, point)
        slope = problem.slope(after)
        flat = _dot(slope, memory.direction).abs() <= self.flatness * _dot(memory.slope, memory.direction).abs()
        ended = (taken & flat)[:, None]
        direction = torch.where(ended, _conjugate(problem, after, slope, memory), memory.direction)
        still = (after.z == point.z).all(-1)
        direction, turned = _downhill(problem, after, slope, direction, still)
        step = torch.where(still, first_length(slope), _secant(problem, point, after, slope, direction, memory.length))
        return after, Memory(
            direction=torch.where(taken[:, None], direction, memory.direction),
            length=torch.where(taken, step, memory.length * self.shrink),
            slope=torch.where(ended | (taken & turned)[:, None], slope, memory.slope),
        )


def _conjugate(problem: Problem, point: Point, slope: Tensor, memory: Memory) -> Tensor:
    """The direction of the next line: down the slope where no positive curvature was met, else as in equation 1.3."""
    direction = problem.free(point, memory.direction)
    back = _dot(memory.direction, memory.slope) > 0  # the search ended on its way back
    direction = torch.where(back[:, None], -direction, direction)
    change = problem.free(point, slope - memory.slope)
    curvature = _dot(direction, change)
    met = torch.where(curvature > 0, curvature, 1)
    weight = (_dot(change, slope) - 2 * _dot(change, change) * _dot(direction, slope) / met) / met
    least = -1 / (_norm(direction) * _norm(memory.slope).clamp_max(0.01)).clamp_min(torch.finfo(slope.dtype).tiny)
    weight = torch.where(curvature > 0, torch.maximum(weight, least), 0)
    return weight[:, None] * direction - slope


def _downhill(problem: Problem, point: Point, slope: Tensor, direction: Tensor, still: Tensor) -> tuple[Tensor, Tensor]:
    """The direction the way that it leads down, or else the slope's; and where it is that."""
    direction = problem.free(point, direction)  # what is held may lead up, which the slope does not show
    direction = torch.where((_dot(direction, slope) > 0)[:, None], -direction, direction)
    turned = (_dot(direction, slope) >= 0) | still
    return torch.where(turned[:, None], -slope, direction), turned


def _secant(problem: Problem, before: Point, point: Point, slope: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """The step to where the slope along the direction would vanish, if the curvature were that of the last move."""
    move = problem.free(point, point.z - before.z)
    change = problem.free(point, slope - problem.slope(before))
    curvature, square = _dot(move, change), _dot(move, move)
    noise = torch.finfo(move.dtype).eps * (square * _dot(change, change)).sqrt()
    positive = curvature > noise
    bend = torch.where(positive, curvature, 1) / torch.where(positive, square, 1) * _dot(direction, direction)
    return torch.where(positive, -_dot(slope, direction) / torch.where(bend > 0, bend, 1), 2 * length)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1)


def _norm(a: Tensor) -> Tensor:
    return torch.linalg.vector_norm(a, dim=-1)
