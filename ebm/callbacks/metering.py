"""Reads meters off the codes of held-out pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import pytorch_lightning as pl
import torch
from torch import Tensor

from ebm.meters import energy_gap, rank, spread

Meter = Callable[..., dict[str, float]]  # (F, hx, hy) -> names and numbers


@final
class Metering(pl.Callback):
    """Logs `code/<name>` for every number of every meter, over all held-out pairs, at each validation."""

    def __init__(self, meters: Sequence[Meter] = (spread, rank, energy_gap)) -> None:
        self.meters = tuple(meters)
        self.codes: list[tuple[Tensor, Tensor]] = []

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.codes = []

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, *args: Any, **kwargs: Any
    ) -> None:
        self.codes.append((outputs["hx"].float(), outputs["hy"].float()))

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        hx, hy = (torch.cat(part) for part in zip(*self.codes, strict=True))
        for meter in self.meters:
            values = meter(pl_module.F, hx, hy)
            pl_module.log_dict({f"code/{name}": value for name, value in values.items()})
