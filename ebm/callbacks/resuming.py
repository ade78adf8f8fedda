"""Checkpoints to resume from, at steps and when a run is asked to stop."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import pytorch_lightning as pl
import torch


class Stopped(Exception):  # noqa: N818 -- not an error: the run goes on later
    """The run was asked to stop, and has saved where it is."""


@final
class Resuming(pl.callbacks.Checkpoint):
    """Saves all that the rest of a run depends on, so that a run that goes on ends with the same weights, bit for bit.

    That takes the states of the generators that augmentations draw from, which Lightning does not save. After each
    update `stop` is asked whether to save; Stopped is then raised before the next batch, when all has been logged.
    """

    def __init__(self, path: Path, every: int, stop: Callable[[], bool]) -> None:
        if every < 1:
            raise ValueError(f"checkpoints are saved every so many steps, at least 1, got {every}")
        self.path, self.every, self.stop = path, every, stop
        self._generators: dict[str, Any] | None = None
        self._updates = 0
        self._stopping = self._due = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._updates = trainer.global_step
        if self._generators is not None:
            _set_generators(self._generators)
            self._generators = None

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._stopping and not self._due:
            raise Stopped(f"stopped after {trainer.global_step} steps")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step == self._updates:
            return  # gradients that are still being accumulated would be lost
        self._updates = trainer.global_step
        self._stopping = self._stopping or self.stop()
        self._due = self._due or self._stopping or self._updates % self.every == 0
        if self._due and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._due:  # since the last batch of the epoch, whose validation is now in the log
            self._save(trainer)

    def state_dict(self) -> dict[str, Any]:
        return _generators()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._generators = state_dict

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._due = False


def _generators() -> dict[str, Any]:
    """States of the global generators, in types that load without running code."""
    numpy: dict[str, Any] = dict(np.random.get_state(legacy=False))  # what augmentations may draw from
    numpy["state"] = {"key": numpy["state"]["key"].tolist(), "pos": int(numpy["state"]["pos"])}
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda, "python": random.getstate(), "numpy": numpy}


def _set_generators(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["cpu"])
    if states["cuda"]:
        torch.cuda.set_rng_state_all(states["cuda"])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
