"""Time methods against each other: interleaved, in random order, and each answer verified by a plain evaluation."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from problems import Problem
from torch import Tensor

TOLERANCE = 1e-4


class Counted:
    """The energy of a problem, which counts its evaluations: batched calls, and rows of all calls together."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.calls = 0
        self.rows = 0

    def __call__(self, z: Tensor, *given: Tensor) -> Tensor:
        self.calls += 1
        self.rows += z.shape[:-1].numel()
        return self.problem.energy(z, *given)


Energy = Callable[..., Tensor]  # (z, *given) -> energies, for all rows of a problem or any of them


@dataclass(frozen=True)
class Method:
    """A way to solve one problem; `solve` is handed the energy to evaluate and returns the minimisers."""

    name: str
    solve: Callable[[Energy], Tensor]
    setting: str = ""
    slow: bool = False
    """Timed once, and not warmed up."""
    compiled: bool = False
    """The first call compiles, and evaluations cannot be counted."""


@dataclass(frozen=True)
class Case:
    """A method on its problem, and how many times the time of ours it is wanted to take per sample."""

    problem: Problem
    method: Method
    wanted: float | None = None


@dataclass
class Measurement:
    """What came of a case: time and counts, and how many samples pass by the verification of the worst run."""

    case: Case
    seconds: list[float] = field(default_factory=list)
    first_call: float | None = None
    """Wall-clock seconds of the first call, where that compiles."""
    passed: int | None = None
    passed_float64: int = 0
    """The same answer, judged by the same energy evaluated in float64."""
    steepest: float = 0.0
    calls: int | None = None
    rows: int | None = None
    error: str = ""
    """What the method raised, after which it was not called again."""

    @property
    def batch(self) -> int:
        """How many samples there are."""
        return len(self.case.problem.start)

    @property
    def solved(self) -> bool:
        """Whether every sample passes."""
        return self.passed == self.batch and not self.error

    @property
    def median(self) -> float:
        """Seconds of a solve of the whole batch; NaN if there was none."""
        return statistics.median(self.seconds) if self.seconds else math.nan


def measure(cases: Sequence[Case], rounds: int, tell: Callable[[str], None]) -> list[Measurement]:
    """Run every case once a round, in an order drawn anew in each; `tell` hears the name of what runs next.

    All but the slow ones run once before, untimed, and twice if they compile.
    """
    measurements = [Measurement(case) for case in cases]
    for measurement in measurements:
        method = measurement.case.method
        for _ in range(0 if method.slow else 1 + method.compiled):
            tell(f"{method.name}, warming up")
            _run(measurement, timed=False)
    for turn in range(rounds):
        order = [each for each in measurements if not (each.case.method.slow and turn)]
        random.Random(turn).shuffle(order)
        for measurement in order:
            tell(f"{measurement.case.method.name}, round {turn + 1}")
            _run(measurement, timed=True)
    return measurements


def verify(problem: Problem, z: Tensor) -> Tensor:
    """Which samples are solved at `z`, `(batch,)`."""
    return problem.check(z.reshape(problem.start.shape)) <= TOLERANCE


def _run(measurement: Measurement, timed: bool) -> None:
    """Solve once, and verify the answer after the clock has stopped."""
    if measurement.error:
        return
    problem, method = measurement.case.problem, measurement.case.method
    energy = problem.energy if method.compiled else Counted(problem)
    began, wall = clock(problem.start.device), time.perf_counter()
    try:
        z = method.solve(energy)
    except Exception as error:  # a peer that fails is a finding, and must not cost those measured before
        measurement.error = f"{type(error).__name__}: {error}"
        return
    seconds, wall = clock(problem.start.device) - began, time.perf_counter() - wall
    if timed:
        measurement.seconds.append(seconds)
    if method.compiled and measurement.first_call is None:
        measurement.first_call = wall
    if isinstance(energy, Counted):
        measurement.calls, measurement.rows = energy.calls, energy.rows
    _judge(measurement, z.to(problem.start).reshape(problem.start.shape))


def _judge(measurement: Measurement, z: Tensor) -> None:
    problem = measurement.case.problem
    passed = int(verify(problem, z).sum())
    if measurement.passed is None or passed < measurement.passed:
        measurement.passed = passed
        measurement.steepest = float(problem.check(z).max())
        measurement.passed_float64 = int(verify(problem.to(torch.float64), z.double()).sum())


def clock(device: torch.device) -> float:
    """Seconds of CPU time of this process, which other processes do not lengthen; on an accelerator, of the wall."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
