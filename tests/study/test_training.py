import logging
import warnings
from pathlib import Path
from typing import ClassVar

import filelock
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from runs import Stripes, small_run, weights
from torch import nn

from ebm.callbacks import Stopped
from ebm.meters import linear_probe
from ebm.study.configuration import build, resolve
from ebm.study.store import RunFolder
from ebm.study.training import train

STEPS = 20  # of a small run


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def trained(run, folder):
    train(run, folder, "test", lambda *_: None, lambda: False)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run, and the folder in which it was trained."""
    folder = tmp_path_factory.mktemp("done")
    run = small_run(folder, "--seed=3")
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("WANDB_MODE", "disabled")
        return run, trained(run, RunFolder(folder / "run"))


def test_a_finished_run_holds_all_that_is_promised_and_nothing_else(done):
    _, folder = done
    promised = {"config.yaml", "history.jsonl", "last.ckpt", "log.txt", "codes.npz", "result.json", ".lock"}
    assert {path.name for path in folder.path.iterdir()} == promised


def test_a_result_says_what_was_run_by_what_on_what_and_for_how_long(done):
    run, folder = done
    result = folder.result()
    assert (result["arm"], result["seed"], result["steps"]) == (run.arm, 3, STEPS)
    assert result["seconds"] > 0
    assert result["versions"]["torch"] == torch.__version__
    assert result["versions"].keys() >= {"ebm-lab", "python", "numpy", "pytorch-lightning"}
    assert result["machine"].keys() >= {"processor", "cores", "system"}


def test_a_result_holds_every_number_of_meters_and_probes(done):
    _, folder = done
    assert folder.result()["metrics"].keys() >= {
        *("code/std", "code/normalized_std", "code/effective_rank", "code/rankme", "code/auroc"),
        *("probe/linear", "probe/knn", "representation/std", "representation/effective_rank"),
    }


def test_the_configuration_that_is_kept_makes_the_same_run(done):
    run, folder = done
    again, _ = resolve(["--config", str(folder.config)])
    assert (again.id, again.seed) == (run.id, run.seed)


def test_the_history_has_every_step_and_ends_in_the_result(done):
    _, folder = done
    history = folder.history()
    assert history["loss/total"].dropna().index.tolist() == list(range(STEPS))
    assert history["step"].tolist() == list(range(STEPS + 1))
    assert history["code/std"].dropna().index.tolist() == [10, 20]
    last = history.iloc[-1]
    for name, value in folder.result()["metrics"].items():
        assert last[name] == value


def test_the_codes_that_are_kept_are_those_of_the_held_out_images_without_augmentation(done):
    run, folder = done
    learner = build(run).learner.eval()
    learner.load_state_dict(weights(folder))
    images, labels = Stripes().load("test")[range(12)]
    kept = folder.codes()
    with torch.no_grad():
        np.testing.assert_array_equal(kept["representation"], learner(images).numpy())
        np.testing.assert_array_equal(kept["code"], learner.F.energy.encode(images, images)[1].numpy())
    np.testing.assert_array_equal(kept["label"], labels.numpy())


def test_the_probe_in_the_result_is_that_of_the_representations_of_the_last_weights(done):
    run, folder = done
    learner = build(run).learner.eval()
    learner.load_state_dict(weights(folder))
    with torch.no_grad():
        parts = [(learner(images), labels) for images, labels in (Stripes().load(s)[:] for s in ("train", "test"))]
    assert folder.result()["metrics"]["probe/linear"] == pytest.approx(linear_probe(*parts))


def test_a_finished_run_is_not_run_again(done, monkeypatch):
    run, folder = done
    before = {path.name: path.stat().st_mtime_ns for path in folder.path.iterdir() if path.name != ".lock"}
    monkeypatch.setattr(pl.Trainer, "fit", lambda *_, **__: pytest.fail("it was run again"))
    trained(run, folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.path.iterdir() if path.name != ".lock"} == before


def test_a_run_gives_the_same_weights_whatever_was_drawn_before_it(done, tmp_path):
    run, folder = done
    torch.manual_seed(12345)
    again = trained(run, RunFolder(tmp_path / "run"))
    torch.testing.assert_close(weights(again), weights(folder), rtol=0, atol=0)


class Recorder(pl.Callback):
    """Keeps the views that training was given."""

    kept: ClassVar[list] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.kept.append(batch[0].clone())


@pytest.mark.parametrize("augmentations", ["[runs.Noise]", "[]"], ids=["other views", "another order"])
def test_another_seed_gives(tmp_path, augmentations):
    def seen(seed):
        Recorder.kept.clear()
        recorded = "--trainer.callbacks=[test_training.Recorder]"
        run = small_run(tmp_path, f"--seed={seed}", f"--data.augmentations={augmentations}", recorded)
        trained(run, run.folder(tmp_path / "results"))
        return list(Recorder.kept)

    first, second = seen(0), seen(1)
    assert len(first) == STEPS
    assert not any(a.equal(b) for a, b in zip(first, second, strict=True))


def test_callbacks_and_meters_of_ones_own_are_used(tmp_path):
    run = small_run(tmp_path, "--trainer.callbacks=[test_training.Marking]", "--meters=[test_training.answer]")
    folder = trained(run, RunFolder(tmp_path / "run"))
    assert folder.result()["metrics"]["code/answer"] == 42
    assert "code/std" not in folder.result()["metrics"]
    assert (folder.path / "marked").exists()


class Marking(pl.Callback):
    def on_train_end(self, trainer, pl_module):
        (Path(trainer.default_root_dir) / "marked").touch()


def answer(F, hx, hy):
    return {"answer": 42.0}


class Failing(nn.Module):
    """Fails while a file is there."""

    def __init__(self, path: str):
        super().__init__()
        self.path = Path(path)

    def forward(self, F, hx, hy):
        if self.path.exists():
            raise RuntimeError("the reason why")
        return F(hx, hy).mean()


def test_why_a_run_failed_is_kept_until_it_succeeds(tmp_path):
    (tmp_path / "broken").touch()
    loss = f"{{class_path: test_training.Failing, init_args: {{path: {tmp_path / 'broken'}}}}}"
    run = small_run(tmp_path, f"--model.losses={{failing: {{weight: 1, fn: {loss}}}}}")
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(RuntimeError, match="the reason why"):
        trained(run, folder)
    assert folder.state() == "failed"
    kept = folder.failure.read_text()
    assert kept.startswith("RuntimeError: the reason why\n")
    assert "Traceback (most recent call last)" in kept
    (tmp_path / "broken").unlink()
    trained(run, folder)
    assert not folder.failure.exists()
    assert folder.state() == "finished"


def test_a_run_that_was_stopped_has_not_failed(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Stopped):
        train(small_run(tmp_path), folder, "test", lambda *_: None, lambda: True)
    assert folder.state() == "stopped"
    assert not folder.failure.exists()


def test_a_run_that_failed_and_was_then_stopped_is_stopped(tmp_path):
    run, folder = small_run(tmp_path), RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.failure.write_text("OSError: no space left on device")
    with pytest.raises(Stopped):
        train(run, folder, "test", lambda *_: None, lambda: True)
    assert folder.state() == "stopped"


def test_a_run_that_another_process_trains_is_left_alone(tmp_path):
    run, folder = small_run(tmp_path), RunFolder(tmp_path / "run")
    folder.path.mkdir()
    with folder.lock(), pytest.raises(filelock.Timeout):
        trained(run, folder)
    assert {path.name for path in folder.path.iterdir()} <= {".lock"}


def test_progress_is_told_after_each_step(tmp_path):
    told = []
    train(small_run(tmp_path), RunFolder(tmp_path / "run"), "test", lambda *at: told.append(at), lambda: False)
    assert told == [(step, STEPS) for step in range(1, STEPS + 1)]


def test_what_libraries_say_is_kept_in_the_folder_and_not_printed(tmp_path, capfd):
    folder = trained(small_run(tmp_path), RunFolder(tmp_path / "run"))
    assert capfd.readouterr() == ("", "")
    assert "max_epochs=4" in (folder.path / "log.txt").read_text()


def test_logging_and_warnings_are_as_they_were_after_a_run(tmp_path):
    names = ("pytorch_lightning", "lightning_fabric", "py.warnings", "ebm")

    def state():
        return [(logging.getLogger(name).handlers[:], logging.getLogger(name).propagate) for name in names]

    before = state(), warnings.showwarning, warnings.filters[:]
    with pytest.raises(Stopped):
        train(small_run(tmp_path), RunFolder(tmp_path / "run"), "test", lambda *_: None, lambda: True)
    assert (state(), warnings.showwarning, warnings.filters[:]) == before


def test_the_weights_start_from_the_seed_and_not_from_how_the_data_are_made(tmp_path):
    def first_weights(*options):
        run = small_run(tmp_path, "--trainer.max_steps=1", "--model.optimizer.lr=0.0", *options)
        folder = trained(run, run.folder(tmp_path / "results"))
        return weights(folder)["F.energy.predictor.layers.0.weight"]

    assert first_weights().equal(first_weights("--data.augmentations=[runs.Noise, runs.Noise]"))
    assert not first_weights().equal(first_weights("--seed=1"))


def test_a_run_is_scored_at_its_end_even_if_its_length_is_no_multiple_of_the_interval(tmp_path):
    run = small_run(tmp_path, "--trainer.max_epochs=3")
    folder = trained(run, RunFolder(tmp_path / "run"))
    assert folder.history()["code/std"].dropna().index.tolist() == [10, 15]
    assert folder.history().iloc[-1]["probe/knn"] == folder.result()["metrics"]["probe/knn"]


def test_a_run_that_says_nothing_of_arms_is_called_by_its_file(done):
    run, _ = done
    assert yaml.safe_load(run.config).get("name") is None
    assert run.arm == "base"
