import contextlib
import os
import pickle
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from runs import arguments, environment, lives, small_run, study_file, weights
from torch import nn

from ebm.callbacks import Resuming, Stopped
from ebm.cli import main
from ebm.study.store import RunFolder
from ebm.study.sweep import load_study
from ebm.study.training import train

STEPS = 20  # of a small run: 4 epochs of 5


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def assert_the_same_to_the_bit(folder, other):
    torch.testing.assert_close(weights(folder), weights(other), rtol=0, atol=0)
    pd.testing.assert_frame_equal(folder.history(), other.history(), check_like=True, check_exact=True)
    assert folder.result()["metrics"] == other.result()["metrics"]
    for name, array in folder.codes().items():
        np.testing.assert_array_equal(array, other.codes()[name])


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """A small run and its folder."""
    folder = tmp_path_factory.mktemp("never_stopped")
    run = small_run(folder)
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("WANDB_MODE", "disabled")
        return run, lives(run, RunFolder(folder / "run"))


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_a_run_that_stops_at_any_step_and_goes_on_ends_as_if_it_had_not(never_stopped, tmp_path, step):
    run, folder = never_stopped
    assert_the_same_to_the_bit(lives(run, RunFolder(tmp_path / "run"), [step]), folder)


@pytest.mark.parametrize("stops", [[1, 2, 3], [5, 10], [5, 9, 10], [4, 6, 10, 11, 19], list(range(1, STEPS))], ids=str)
def test_a_run_that_stops_again_and_again_ends_as_if_it_had_not(never_stopped, tmp_path, stops):
    run, folder = never_stopped
    assert_the_same_to_the_bit(lives(run, RunFolder(tmp_path / "run"), stops), folder)


class NumPyNoise(nn.Module):
    def forward(self, images):
        return images + torch.from_numpy(np.random.normal(size=images.shape)).float()


class PythonNoise(nn.Module):
    def forward(self, images):
        return images + random.gauss(0, 1)


@pytest.mark.parametrize(
    ("stops", "options"),
    [
        ([3, 10, 16], ["--trainer.val_check_interval=2", "--trainer.check_val_every_n_epoch=1"]),
        ([7, 12], ["--trainer.max_steps=13"]),
        ([3, 6], ["--data.batch_size=16"]),
        ([3, 11], ["--trainer.precision=bf16-mixed", "--trainer.gradient_clip_val=0.1"]),
        ([4, 9], ["--trainer.log_every_n_steps=3", "--checkpoint_every=7"]),
        ([7, 14], ["--data.augmentations=[{class_path: kornia.augmentation.RandomAffine, init_args: {degrees: 20}}]"]),
        ([7, 14], ["--model.optimizer=torch.optim.SGD", "--model.optimizer.lr=0.1", "--model.optimizer.momentum=0.9"]),
        ([4, 7, 10], ["--trainer.accumulate_grad_batches=2"]),
        ([1, 6, 11], ["--trainer.accumulate_grad_batches=2"]),
        ([2, 3, 7], ["--trainer.limit_train_batches=3"]),
        ([4, 7, 10], ["--data.workers=1"]),
        ([2], ["--data.augmentations=[test_resuming.NumPyNoise]"]),
        ([2], ["--data.augmentations=[test_resuming.PythonNoise]"]),
    ],
    ids=[
        *("validated within epochs", "ended within an epoch", "part of the data left out", "half precision"),
        *("rarely logged", "kornia", "momentum", "after an update", "between two updates", "short epochs"),
        *("workers", "numpy's generator", "python's generator"),
    ],
)
def test_a_run_of_another_kind_that_stops_and_goes_on_ends_as_if_it_had_not(tmp_path, stops, options):
    run = small_run(tmp_path, *options)
    whole, parts = (lives(run, RunFolder(tmp_path / name), at) for name, at in (("whole", []), ("parts", stops)))
    assert_the_same_to_the_bit(parts, whole)


def test_a_run_that_failed_goes_on_from_its_last_checkpoint_once_the_cause_is_gone(
    never_stopped, tmp_path, monkeypatch
):
    run, folder = never_stopped
    broken = RunFolder(tmp_path / "run")

    def disk_full(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "append", disk_full)
        with pytest.raises(OSError, match="no space left"):
            train(run, broken, "test", lambda *_: None, lambda: False)
    assert broken.state() == "failed"
    assert_the_same_to_the_bit(lives(run, broken), folder)


def test_a_checkpoint_is_saved_every_so_many_steps_and_at_the_end(tmp_path, monkeypatch):
    saved = []
    original = pl.Trainer.save_checkpoint

    def noted(trainer, path, *more, **settings):
        saved.append(trainer.global_step)
        original(trainer, path, *more, **settings)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", noted)
    lives(small_run(tmp_path, "--checkpoint_every=6"), RunFolder(tmp_path / "run"))
    assert saved == [6, 12, 18, 20]


@pytest.mark.parametrize("every", [0, -1])
def test_checkpoints_are_at_least_a_step_apart(tmp_path, every):
    with pytest.raises(ValueError, match=f"at least 1, got {every}"):
        Resuming(tmp_path / "last.ckpt", every, lambda: False)


def test_stopping_says_after_how_many_steps(tmp_path):
    with pytest.raises(Stopped, match="stopped after 1 steps"):
        train(small_run(tmp_path), RunFolder(tmp_path / "run"), "test", lambda *_: None, lambda: True)


def test_the_seconds_of_a_run_are_those_of_all_its_lives(tmp_path, monkeypatch):
    monkeypatch.setenv("PAUSE", "0.01")  # for each of two views a step
    folder = lives(small_run(tmp_path), RunFolder(tmp_path / "run"), [10, 15])
    assert folder.result()["seconds"] > STEPS * 2 * 0.01


class Evil:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_checkpoint_runs_no_code_when_it_is_loaded(tmp_path):
    run, folder = small_run(tmp_path), RunFolder(tmp_path / "run")
    with pytest.raises(Stopped):
        train(run, folder, "test", lambda *_: None, lambda: True)
    contents = torch.load(folder.checkpoint, weights_only=True)
    torch.save(contents | {"extra": Evil(tmp_path / "run by a pickle")}, folder.checkpoint)
    with pytest.raises(pickle.UnpicklingError, match=r"(?i)weights.only"):
        train(run, folder, "test", lambda *_: None, lambda: False)
    assert not (tmp_path / "run by a pickle").exists()
    assert folder.state() == "failed"
    torch.load(folder.checkpoint, weights_only=False)
    assert (tmp_path / "run by a pickle").exists(), "the checkpoint was harmless, so this test said nothing"


def started(words, folder):
    """The command `ebm` in a process and a session of its own, as a terminal would start it."""
    return subprocess.Popen(
        [sys.executable, "-c", ENTRY, *words],
        env=environment(PAUSE="0.1"),  # four seconds and more to be interrupted in
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


# A shell that runs the tests in the background has its children ignore the signal of Ctrl-C.
ENTRY = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from ebm.cli import main
sys.exit(main())
"""


def wait_until(reached, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not reached():
        assert process.poll() is None, f"it ended before: {process.communicate()[0]}"
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def steps_done(folder):
    return len(folder.history())


@pytest.fixture
def group_killed():
    """Processes to be killed at the end with all that they started."""
    processes = []
    yield processes
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "statuses"),
    [
        ([signal.SIGKILL], {-signal.SIGKILL}),
        ([signal.SIGINT], {130}),
        ([signal.SIGINT, signal.SIGINT], {130}),
        ([signal.SIGTERM], {128 + signal.SIGTERM, -signal.SIGTERM, 130}),
    ],
    ids=["killed", "interrupted", "interrupted twice", "told to end"],
)
def test_a_process_that_is_ended_in_mid_training_and_started_again_ends_with_the_same_weights(
    tmp_path, group_killed, signals, statuses
):
    words = arguments(tmp_path, "--checkpoint_every=3")
    run = small_run(tmp_path, "--checkpoint_every=3")
    folder = run.folder(tmp_path / "results")
    process = started(["fit", *words], tmp_path)
    group_killed.append(process)
    wait_until(lambda: folder.checkpoint.exists() and steps_done(folder) >= 5, process)
    for number in signals:
        os.killpg(process.pid, number)
        time.sleep(0.05)  # less than a step
    said, _ = process.communicate(timeout=60)
    assert process.returncode in statuses, said
    assert folder.state() == "stopped"
    if signals == [signal.SIGINT]:
        assert "Stopping: saving where the run is" in said
        assert torch.load(folder.checkpoint, weights_only=True)["global_step"] == steps_done(folder)
    assert main(["fit", *words]) == 0
    assert_the_same_to_the_bit(folder, lives(run, RunFolder(tmp_path / "never stopped")))


@pytest.mark.slow
def test_a_study_that_is_interrupted_saves_every_run_and_goes_on_from_there(tmp_path, group_killed):
    path = study_file(tmp_path, {"one": {}}, seeds=[0, 1, 2])
    words = ["study", "run", str(path), "--workers", "2", "--results", str(tmp_path / "results")]
    runs = load_study(path).runs
    folders = [run.folder(tmp_path / "results") for run in runs]
    process = started(words, tmp_path)
    group_killed.append(process)
    wait_until(lambda: all(steps_done(folder) >= 3 for folder in folders[:2]), process)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "each run saves where it is" in said
    assert [folder.state() for folder in folders] == ["stopped", "stopped", "waiting"]
    for folder in folders[:2]:
        assert torch.load(folder.checkpoint, weights_only=True)["global_step"] == steps_done(folder)
    assert main(words) == 0
    for run, folder in zip(runs, folders, strict=True):
        whole = lives(run, RunFolder(tmp_path / "never stopped" / run.id))
        assert_the_same_to_the_bit(folder, whole)
