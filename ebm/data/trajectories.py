"""Pieces of trajectories as pairs: what is seen first and done, and what is seen then."""

from __future__ import annotations

from abc import abstractmethod
from copy import copy
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from ebm.data.pairs import Pairs
from ebm.data.source import Batch, Source, Split
from ebm.energies.world_model import Situation
from ebm.worlds.policies import Uniform, Wander
from ebm.worlds.trajectories import Policy, Trajectories, simulate
from ebm.worlds.world import World


class Trajectory(Source):
    """Trajectories as rows `(times, ...)`, whose labels are what was done between them, `(times - 1, actions)`."""

    @abstractmethod
    def observe(self, rows: Tensor) -> Tensor:
        """Observations `(*batch, ...)` of rows `(*batch, ...)`."""


@final
@dataclass(frozen=True)
class Simulated(Trajectory):
    """Trajectories that a world makes, as a policy acts there: states are kept, and observed as they are needed.

    The policy is unless given `Wander`, or `Uniform` where there is nothing to turn.

    `seed` chooses which, and is part of the data, not of a run. They lie on `device`, where they are made.
    """

    world: World
    policy: Policy | None = None
    train: int = 3000
    held_out: int = 200
    steps: int = 12
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name, least in (("train", 1), ("held_out", 1), ("steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"`{name}` of simulated trajectories is at least {least}, not {getattr(self, name)}")

    def trajectories(self, split: Split) -> Trajectories:
        """States `(count, steps + 1, features)` and actions `(count, steps, actions)`."""
        count, stream = (self.train, 0) if split == "train" else (self.held_out, 1)
        generator = torch.Generator(self.device).manual_seed(2 * self.seed + stream)
        return simulate(self.world, self._policy(), count, self.steps, generator)

    def _policy(self) -> Policy:
        if self.policy is not None:
            return copy(self.policy)  # it may remember
        return Uniform() if self.world.discrete or self.world.actions < 2 else Wander()

    def load(self, split: Split) -> Dataset[Batch]:
        return TensorDataset(*self.trajectories(split))

    def observe(self, rows: Tensor) -> Tensor:
        return self.world.observe(rows)


@final
class TrajectoryPairs(Pairs):
    """Batches `(x, y)` of pieces of `steps` actions: x a `Situation`, y `(batch, steps, ...)` of what is seen then."""

    def __init__(self, source: Trajectory, steps: int = 4, batch_size: int = 48, workers: int = 0) -> None:
        super().__init__(source, batch_size, workers, labels=True)
        if steps < 1:
            raise ValueError(f"a piece has at least 1 step, not {steps}")
        self.source: Trajectory = source
        self.steps = steps

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError("pieces are made of rows and of what was done: `pieces`")

    def check(self, rows: Tensor) -> None:
        if rows.shape[1] < self.steps + 1:
            raise ValueError(
                f"pieces of {self.steps} steps need trajectories of as many, but these have {rows.shape[1] - 1}: lower"
                " data.steps, or make longer ones"
            )

    def pieces(self, rows: Tensor, actions: Tensor) -> tuple[Situation, Tensor]:
        """`(x, y)` of trajectories `(batch, times, ...)`, each from a time of its own."""
        last = actions.shape[1] - self.steps
        first = torch.randint(last + 1, (len(rows), 1), device=rows.device)
        times = first + torch.arange(self.steps + 1, device=rows.device)
        index = torch.arange(len(rows), device=rows.device)[:, None]
        seen = self.source.observe(rows[index, times])
        return Situation(seen[:, 0], actions[index, times[:, :-1]]), seen[:, 1:]

    def _told(self, batch: Batch) -> tuple[Situation, Tensor]:  # type: ignore[override]
        return self.pieces(*batch)
