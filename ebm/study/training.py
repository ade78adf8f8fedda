"""Do one run, from wherever it stands, and keep what came of it."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import numpy as np
import pytorch_lightning as pl
import torch
import yaml

from ebm.callbacks import Clock, Metering, Probing, Resuming, Stopped
from ebm.callbacks.probing import representations
from ebm.study import tracking
from ebm.study.configuration import Parts, Run, build
from ebm.study.machine import machine, versions
from ebm.study.program import perform
from ebm.study.store import AtomicCheckpoints, History, RunFolder, write_text

Report = Callable[[int, int], None]  # steps done, steps in all


def train(run: Run, folder: RunFolder, group: str, report: Report, stop: Callable[[], bool]) -> None:
    """Do `run` to its end in `folder`, unless `stop` says to stop: then raise Stopped, to be called again.

    What else is raised is kept in the folder too. Raises filelock.Timeout if another process trains the run.
    """
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.lock():
        if folder.state() == "finished":
            return
        write_text(folder.config, run.config)
        folder.failure.unlink(missing_ok=True)
        try:
            with _quiet(folder):
                if run.is_program:
                    perform(run, folder, group, stop)
                else:
                    _fit(run, folder, group, report, stop)
        except (Stopped, KeyboardInterrupt):
            raise
        except Exception as error:
            write_text(folder.failure, f"{type(error).__name__}: {error}\n\n{traceback.format_exc()}")
            raise
        finally:
            tracking.finish()


def _fit(run: Run, folder: RunFolder, group: str, report: Report, stop: Callable[[], bool]) -> None:
    pl.seed_everything(run.seed, verbose=False)
    parts = build(run)
    pl.seed_everything(run.seed, verbose=False)  # so that augmentations do not depend on how many weights were drawn
    clock = Clock()
    trainer = _trainer(run, parts, folder, group, [clock, _Reporting(report), _resuming(parts, folder, stop)])
    start = folder.checkpoint if folder.checkpoint.exists() else None
    try:
        trainer.fit(parts.learner, datamodule=parts.data, ckpt_path=start, weights_only=True)
    except SystemExit as ended:  # what Lightning makes of a second Ctrl-C, and of being told to end
        raise KeyboardInterrupt from ended
    trainer.save_checkpoint(folder.checkpoint)
    metrics = trainer.validate(parts.learner, datamodule=parts.data, verbose=False)[0]
    facts = {"versions": versions(), "machine": machine()}
    result = {"arm": run.arm, "seed": run.seed, "metrics": metrics, "seconds": clock.seconds, **facts}
    folder.write_result(result | {"steps": trainer.global_step}, _held_out(parts) if parts.probes else {})


def _resuming(parts: Parts, folder: RunFolder, stop: Callable[[], bool]) -> Resuming:
    return Resuming(folder.checkpoint, parts.checkpoint_every, stop)


def _trainer(run: Run, parts: Parts, folder: RunFolder, group: str, callbacks: list[pl.Callback]) -> pl.Trainer:
    settings = dict(parts.trainer)
    probes = [Probing(parts.data)] if parts.probes else []
    callbacks = [Metering(parts.meters), *probes, *(settings.pop("callbacks", None) or []), *callbacks]
    online = tracking.tracker(run.id, f"{run.arm}-{run.seed}", group, folder.path, yaml.safe_load(run.config))
    return pl.Trainer(
        **settings,
        callbacks=callbacks,
        logger=[History(folder), *([online] if online else [])],
        plugins=[AtomicCheckpoints()],
        default_root_dir=folder.path,
        enable_progress_bar=False,
        enable_model_summary=False,
        inference_mode=False,  # an energy's latent is inferred by differentiating, which inference mode forbids
        num_sanity_val_steps=0,
    )


@torch.no_grad()
def _held_out(parts: Parts) -> dict[str, np.ndarray[Any, Any]]:
    """Representations and codes of the held-out images, without augmentation."""
    learner = parts.learner.eval()
    features, labels = representations(parts.data, learner, "test")
    images = torch.cat([batch[0] for batch in parts.data.labelled("test")]).to(learner.device)
    codes = learner.F.energy.encode(images, images)[1].float().cpu()
    return {"representation": features.numpy(), "code": codes.numpy(), "label": labels.numpy()}


@final
class _Reporting(pl.Callback):
    """Tells how far training has come."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        self.report(trainer.global_step, int(trainer.estimated_stepping_batches))


@contextmanager
def _quiet(folder: RunFolder) -> Iterator[None]:
    """What libraries say of a run goes into its folder, not between the lines of a progress bar."""
    handler = logging.FileHandler(folder.path / "log.txt")
    names = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "py.warnings", "ebm")
    loggers = [logging.getLogger(name) for name in names]
    before = [(logger.handlers[:], logger.propagate) for logger in loggers]
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            for logger in loggers:
                logger.handlers, logger.propagate = [handler], False
            yield
    finally:
        logging.captureWarnings(False)
        for logger, (handlers, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()
