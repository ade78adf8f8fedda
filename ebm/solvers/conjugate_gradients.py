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
    """`d <- -slope + b d` with the `b` of Polak and Ribiere 1969, not below 0 (Powell 1984): one vector of memory.

    A line is searched by secants: each trial that lowers the energy (Armijo 1966, up to rounding) is where the search
    goes on, with the step that the curvature just met asks for, until the slope along the line has fallen to the share
    `flatness` of what it was. The same curvature gives the first trial of the next line. Each sample is at its own
    place in its own search: a step is one evaluation. Under constraints the directions are those of the free face.
    """

    flatness: float = 0.1
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
        direction, turned = _downhill(problem, after, slope, direction)
        step = _secant(problem, point, after, slope, direction, memory.length)
        return after, Memory(
            direction=torch.where(taken[:, None], direction, memory.direction),
            length=torch.where(taken, step, memory.length * self.shrink),
            slope=torch.where(ended | (taken & turned)[:, None], slope, memory.slope),
        )


def _conjugate(problem: Problem, point: Point, slope: Tensor, memory: Memory) -> Tensor:
    """The direction of the next line."""
    change = problem.free(point, slope - memory.slope)
    square = _dot(memory.slope, memory.slope)
    weight = _dot(slope, change).clamp_min(0) / torch.where(square > 0, square, 1)
    return weight[:, None] * problem.free(point, memory.direction) - slope


def _downhill(problem: Problem, point: Point, slope: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """The direction the way that it leads down and can be followed, or else the slope's; and where it is that."""
    direction = torch.where((_dot(direction, slope) > 0)[:, None], -direction, direction)
    direction = problem.follow(point, direction)
    turned = _dot(direction, slope) >= 0
    return torch.where(turned[:, None], -slope, direction), turned


def _secant(
    problem: Problem, before: Point, point: Point, slope: Tensor, direction: Tensor, length: Tensor
) -> Tensor:
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
