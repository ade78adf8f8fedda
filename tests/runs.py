"""Runs small enough to be trained hundreds of times, for the tests of training, studies and the command line."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

import ebm
from ebm.callbacks import Stopped
from ebm.data import Source
from ebm.data.source import Batch, Split
from ebm.study.configuration import Run, resolve
from ebm.study.store import RunFolder
from ebm.study.training import train

ROOT = Path(__file__).parent.parent
STUDIES = ROOT / "benchmarks" / "studies"

# BYOL, which has the most to save: a moving average, its schedule, and running statistics of both of its branches.
BYOL = {
    "model": {
        "energy": {
            "class_path": "ebm.energies.Predictive",
            "init_args": {
                "encoder": {"class_path": "ebm.networks.MLP", "init_args": {"widths": [16, 8], "norm_out": True}},
                "projector": {"class_path": "ebm.networks.MLP", "init_args": {"widths": [8, 4]}},
                "predictor": {"class_path": "ebm.networks.MLP", "init_args": {"widths": [4, 8, 4], "norm": True}},
                "target": {"class_path": "ebm.energies.MovingAverage", "init_args": {"base": 0.9}},
            },
        },
        "losses": {"push_down": {"weight": 1, "fn": {"class_path": "ebm.losses.PushDown"}}},
        "symmetric": True,
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
        "warmup": 0.1,
    },
    "data": {
        "source": {"class_path": "runs.Stripes"},
        "augmentations": [{"class_path": "runs.Noise"}],
        "batch_size": 8,
    },
    "trainer": {"accelerator": "cpu", "max_epochs": 4, "log_every_n_steps": 1, "check_val_every_n_epoch": 2},
}


@final
@dataclass(frozen=True)
class Stripes(Source):
    """Images of 4 x 4 in two classes, which way the stripes run: in batches of 8, five steps an epoch."""

    train: int = 40
    test: int = 12

    def load(self, split: Split) -> Dataset[Batch]:
        count = self.train if split == "train" else self.test
        generator = torch.Generator().manual_seed(count)
        stripes = torch.rand(count, 1, 4, 1, generator=generator).expand(-1, -1, -1, 4)
        labels = torch.arange(count) % 2
        return TensorDataset(torch.where(labels.bool()[:, None, None, None], stripes, stripes.mT).clone(), labels)


@final
@dataclass(frozen=True)
class Colours(Source):
    """Images of CIFAR-10's shape, each of the colour of its class."""

    def load(self, split: Split) -> Dataset[Batch]:
        labels = torch.arange(20 if split == "train" else 10) % 10
        shades = torch.stack([labels / 9, 1 - labels / 9, labels % 2.0], 1)
        return TensorDataset(shades[:, :, None, None].expand(-1, -1, 32, 32).clone(), labels)


class Noise(nn.Module):
    """Adds noise of the global generator. It takes its time where the environment says so, to be interrupted in."""

    def forward(self, images: Tensor) -> Tensor:
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return images + 0.1 * torch.randn_like(images)


class Deadly(nn.Module):
    """Ends its process, as the system does for want of memory."""

    def forward(self, images: Tensor) -> Tensor:
        if len(images) > 2:  # not while the configuration is checked
            os.kill(os.getpid(), signal.SIGKILL)
        return images


def write(path: Path, contents: Mapping[str, Any]) -> Path:
    """A YAML file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(contents), sort_keys=False))
    return path


def arguments(folder: Path, *options: str, base: Mapping[str, Any] = BYOL) -> list[str]:
    """What `ebm fit` is given for a small run, whose files and results lie below `folder`."""
    return ["--config", str(write(folder / "base.yaml", base)), f"--results={folder / 'results'}", *options]


def small_run(folder: Path, *options: str, base: Mapping[str, Any] = BYOL) -> Run:
    """A small run, resolved."""
    return resolve(arguments(folder, *options, base=base))[0]


def lives(run: Run, folder: RunFolder, stops: Sequence[int] = (), between: Callable[[], object] = int) -> RunFolder:
    """Train a run to its end, stopped after each of so many batches, which are counted over all of its lives."""
    batches = 0

    def report(step: int, steps: int) -> None:
        nonlocal batches
        batches += 1

    for stop in stops:
        with contextlib.suppress(Stopped):  # after the last step there is nothing left to stop
            train(run, folder, "test", report, lambda stop=stop: batches == stop)
        between()
    train(run, folder, "test", report, lambda: False)
    assert folder.state() == "finished"
    return folder


def weights(folder: RunFolder) -> dict[str, Tensor]:
    """The weights that a run ended with."""
    return torch.load(folder.checkpoint, weights_only=True)["state_dict"]


def environment(**more: str) -> dict[str, str]:
    """For a process of its own: one thread, no tracking, no network, this `ebm` and the classes of this file."""
    given = {
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(ebm.__file__).parent.parent)]),
    }
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "PYTHON"))}
    return kept | given | more


def study_file(
    folder: Path,
    arms: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int] = (0,),
    base: Mapping[str, Any] = BYOL,
    **more: Any,
) -> Path:
    """A study of small runs: a file for each arm, and the sweep that names them."""
    shared = write(folder / "base.yaml", base)
    files = [str(write(folder / "arms" / f"{name}.yaml", contents)) for name, contents in arms.items()]
    sweep = {
        "name": "small",
        "description": "Which of them?",
        "method": "grid",
        "metric": {"name": "probe/knn", "goal": "maximize"},
        "parameters": {"config": {"values": files}, "seed": {"values": list(seeds)}},
        "command": ["${env}", "ebm", "fit", "--config", str(shared), "${args}"],
    }
    return write(folder / "study.yaml", sweep | more)
