"""Weights & Biases: the one module that imports it, and only when a run starts."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

log = logging.getLogger(__name__)


def tracker(run: str, name: str, group: str, folder: Path, config: Mapping[str, Any]) -> Logger | None:
    """A logger of this run's numbers and configuration to W&B, or None where wandb is not installed.

    Offline, with files below `folder`, unless WANDB_MODE says otherwise; `wandb sync` sends them later. A run that
    is resumed goes on under its own id, except when an agent of a W&B sweep has given it one.
    """
    if os.environ.setdefault("WANDB_MODE", "offline") == "disabled":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    try:
        import wandb
    except ImportError:
        log.warning("wandb is not installed, so this run is logged to %s alone: pip install 'ebm-lab[wandb]'", folder)
        return None
    from pytorch_lightning.loggers import WandbLogger

    by_agent = "WANDB_SWEEP_ID" in os.environ
    wandb.init(
        project=os.environ.get("WANDB_PROJECT", "ebm"),
        group=group,
        name=name,
        id=None if by_agent else run,
        resume=None if by_agent else "allow",
        dir=folder,
        config=dict(config),
    )
    return WandbLogger()  # it takes the run that is open


def finish() -> None:
    """Close the run that this process has open, if any."""
    if wandb := sys.modules.get("wandb"):
        wandb.finish()
