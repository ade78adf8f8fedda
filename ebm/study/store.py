"""The folder of a run: what is in it, written so that a kill at any moment loses no finished work."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, final

import numpy as np
import pandas as pd
import torch
from filelock import FileLock
from pytorch_lightning.loggers.logger import Logger
from pytorch_lightning.plugins.io import TorchCheckpointIO

State = Literal["waiting", "running", "stopped", "failed", "finished"]


@final
@dataclass(frozen=True)
class RunFolder:
    """All that is kept of a run.

    `config.yaml` what was asked for, `history.jsonl` the curves, `last.ckpt` where to go on, `log.txt` what libraries
    said, `failure.txt` why it failed, `codes.npz` codes of held-out images; `result.json` comes last: it is finished.
    """

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def checkpoint(self) -> Path:
        return self.path / "last.ckpt"

    @property
    def failure(self) -> Path:
        return self.path / "failure.txt"

    @property
    def _result(self) -> Path:
        return self.path / "result.json"

    @property
    def _history(self) -> Path:
        return self.path / "history.jsonl"

    def lock(self) -> FileLock:
        """Held by the process that trains this run."""
        return FileLock(self.path / ".lock", timeout=0)

    def state(self) -> State:
        """What has become of the run."""
        if self._result.exists():
            return "finished"
        if not self.path.exists():
            return "waiting"
        if _is_held(self.path / ".lock"):
            return "running"
        if self.failure.exists():
            return "failed"
        return "stopped" if self.checkpoint.exists() else "waiting"

    def result(self) -> dict[str, Any]:
        """Numbers of a finished run, and the versions and machine that made them."""
        return dict(json.loads(self._result.read_text()))

    def write_result(self, result: Mapping[str, Any], codes: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Finish the run."""
        with _replacing(self.path / "codes.npz") as file:
            np.savez_compressed(file, allow_pickle=False, **codes)
        write_text(self._result, json.dumps(_plain(result), indent=1))
        self.failure.unlink(missing_ok=True)

    def codes(self) -> dict[str, np.ndarray[Any, Any]]:
        """Representations and codes of the held-out images, with their labels; nothing of a run without probes."""
        with np.load(self.path / "codes.npz", allow_pickle=False) as arrays:
            return dict(arrays)

    def history(self) -> pd.DataFrame:
        """One row a step that logged something, one column a number; of a step that was done again, the last."""
        if not self._history.exists():
            return pd.DataFrame()
        rows: dict[int, dict[str, float]] = {}
        for line in self._history.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # the line that was being written when the run was killed
            rows.setdefault(row["step"], {}).update(row)
        return pd.DataFrame([rows[step] for step in sorted(rows)])

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row to the history."""
        with self._history.open("ab+") as file:
            if file.tell() and not _ends_a_line(file):
                file.write(b"\n")  # a kill cut the last row off: keep it from spoiling this one
            file.write(json.dumps(_plain(row)).encode() + b"\n")


@final
class History(Logger):
    """Lightning's logger onto the history of a run."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__()
        self.folder = folder

    @property
    def name(self) -> str:
        return "history"

    @property
    def version(self) -> str:
        return self.folder.path.name

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the folder holds the whole configuration already."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.folder.append({"step": int(step or 0), **metrics})


@final
class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are whole or not there, and that run no code when they are loaded."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with _replacing(Path(path)) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        return super().load_checkpoint(path, map_location, weights_only=True)


def write_text(path: Path, text: str) -> None:
    """Write a file that is whole or not there."""
    with _replacing(path) as file:
        file.write(text.encode())


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _ends_a_line(file: BinaryIO) -> bool:
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except TimeoutError:
        return True
    lock.release()
    return False


def _plain(value: Any) -> Any:
    """What JSON can hold; NaN and infinity, which it cannot, become null."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
