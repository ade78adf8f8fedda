import os
import subprocess
import sys
import types
from pathlib import Path

import pytest
import pytorch_lightning.loggers
import yaml
from pytorch_lightning.loggers.logger import DummyLogger
from runs import arguments, environment, small_run

from ebm.callbacks import Stopped
from ebm.study.store import RunFolder
from ebm.study.tracking import tracker
from ebm.study.training import train


@pytest.fixture(autouse=True)
def _offline(monkeypatch, tmp_path):
    for name in ("WANDB_MODE", "WANDB_SILENT", "WANDB_PROJECT", "WANDB_SWEEP_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def trained(run, folder, stop=lambda: False):
    train(run, folder, "group", lambda *_: None, stop)


@pytest.mark.slow
def test_without_an_account_a_run_is_logged_offline_below_its_own_folder(tmp_path):
    """With its configuration and the names of all its numbers, in a file that `wandb sync` takes."""
    words = arguments(tmp_path, "--trainer.max_epochs=1")
    run = small_run(tmp_path, "--trainer.max_epochs=1")
    (tmp_path / "here").mkdir()
    given = environment(HOME=str(tmp_path / "home"))
    given.pop("WANDB_MODE")
    command = [sys.executable, "-c", "import sys; from ebm.cli import main; sys.exit(main())", "fit", *words]
    ended = subprocess.run(command, env=given, cwd=tmp_path / "here", capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    folder = run.folder(tmp_path / "results")
    (log,) = folder.path.glob(f"wandb/offline-run-*/run-{run.id}.wandb")
    contents = log.read_bytes()
    for name in ("loss/push_down", "loss/total", "train/gradient_norm", "probe/linear", "code/effective_rank"):
        assert name.encode() in contents
    for value in ("ebm.energies.Predictive", "ebm.losses.PushDown", "runs.Stripes", "torch.optim.AdamW"):
        assert value.encode() in contents
    assert not list((tmp_path / "here").iterdir()), "something was written where the command was given"
    assert folder.history()["loss/total"].notna().any()


def test_disabled_there_is_no_trace_of_wandb(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setitem(sys.modules, "wandb", None)  # not even imported
    folder = RunFolder(tmp_path / "run")
    trained(small_run(tmp_path), folder)
    assert folder.state() == "finished"
    assert not (folder.path / "wandb").exists()
    assert "wandb" not in (folder.path / "log.txt").read_text()


def test_where_wandb_is_not_installed_a_run_is_done_all_the_same_and_its_log_says_so(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it could not be found
    with pytest.raises(ImportError):
        import wandb  # noqa: F401
    folder = RunFolder(tmp_path / "run")
    trained(small_run(tmp_path), folder)
    assert folder.state() == "finished"
    assert not (folder.path / "wandb").exists()
    assert "wandb is not installed" in (folder.path / "log.txt").read_text()


@pytest.fixture
def opened(monkeypatch):
    """Stands in for wandb: the runs that were opened, and whether one is open."""
    seen = types.SimpleNamespace(given=[], open=False)

    def init(**given):
        assert not seen.open, "a run was opened while another was open, whose numbers it would get"
        seen.given.append(given)
        seen.open = True

    def finish(*_, **__):
        seen.open = False

    fake = types.ModuleType("wandb")
    fake.__spec__ = types.SimpleNamespace(name="wandb")
    fake.init, fake.finish = init, finish
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr(pytorch_lightning.loggers, "WandbLogger", DummyLogger)
    return seen


def test_a_run_is_told_apart_by_its_id_and_grouped_by_its_study(tmp_path, opened):
    run = small_run(tmp_path)
    folder = RunFolder(tmp_path / "run")
    trained(run, folder)
    (given,) = opened.given
    assert (given["id"], given["resume"], given["group"], given["name"]) == (run.id, "allow", "group", "base-0")
    assert Path(given["dir"]) == folder.path
    assert given["config"] == yaml.safe_load(run.config)
    assert given["project"] == "ebm"


def test_the_project_is_that_of_the_environment(tmp_path, opened, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    tracker("id", "name", "group", tmp_path, {})
    assert opened.given[0]["project"] == "ours"


def test_the_agent_of_a_sweep_gives_a_run_its_id(tmp_path, opened, monkeypatch):
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    tracker("id", "name", "group", tmp_path, {})
    assert (opened.given[0]["id"], opened.given[0]["resume"]) == (None, None)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_the_mode_of_the_environment_is_left_as_it_is(tmp_path, opened, monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    tracker("id", "name", "group", tmp_path, {})
    assert os.environ["WANDB_MODE"] == mode


def test_a_run_that_ends_in_any_way_is_closed_so_that_the_next_has_one_of_its_own(tmp_path, opened):
    run = small_run(tmp_path)
    trained(run, RunFolder(tmp_path / "finished"))
    assert not opened.open
    with pytest.raises(Stopped):
        trained(run, RunFolder(tmp_path / "stopped"), lambda: True)
    assert not opened.open
    with pytest.raises(FloatingPointError):
        trained(small_run(tmp_path, "--model.optimizer.lr=1e30"), RunFolder(tmp_path / "failed"))
    assert not opened.open


def test_a_run_that_goes_on_is_opened_under_the_same_id(tmp_path, opened):
    run, folder = small_run(tmp_path), RunFolder(tmp_path / "run")
    with pytest.raises(Stopped):
        trained(run, folder, lambda: True)
    opened.open = False
    trained(run, folder)
    assert [given["id"] for given in opened.given] == [run.id, run.id]
