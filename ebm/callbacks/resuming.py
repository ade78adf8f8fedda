"""Checkpoints to resume from, at steps and when a run is asked to stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import pytorch_lightning as pl
import torch


class Stopped(Exception):  # noqa: N818 -- not an error: the run goes on later
    """The run was asked to stop, and has saved where it is."""


@final
class Resuming(pl.callbacks.Checkpoint):
    """Saves all that the rest of a run depends on, so that a run that goes on ends with the same weights, bit for bit.

    That takes the states of the generators that augmentations draw from, which Lightning does not save. After each step
    `stop` is asked whether to save; Stopped is then raised before the next step, when all of this one has been logged.
    """

    def __init__(self, path: Path, every: int, stop: Callable[[], bool]) -> None:
        if every < 1:
            raise ValueError(f"checkpoints are saved every so many steps, at least 1, got {every}")
        self.path, self.every, self.stop = path, every, stop
        self._generators: dict[str, Any] | None = None
        self._stopping = False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._generators is not None:
            torch.set_rng_state(self._generators["cpu"])
            if self._generators["cuda"]:
                torch.cuda.set_rng_state_all(self._generators["cuda"])
            self._generators = None

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        if self._stopping:
            raise Stopped(f"stopped after {trainer.global_step} steps")

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self._stopping = self.stop()
        if self._stopping or trainer.global_step % self.every == 0:
            trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        return {"cpu": torch.get_rng_state(), "cuda": cuda}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._generators = state_dict
