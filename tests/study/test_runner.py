import pytest
import torch
from rich.console import Console
from runs import small_run, study_file, weights

from ebm.study import runner
from ebm.study.runner import Outcome, check_writable, run_study
from ebm.study.store import RunFolder
from ebm.study.sweep import load_study
from ebm.study.training import train

DIVERGING = {"name": "diverging", "model": {"optimizer": {"init_args": {"lr": 1e30}}}}


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def quiet():
    return Console(quiet=True)


@pytest.mark.slow
def test_a_run_that_fails_costs_the_others_nothing_and_what_is_finished_is_not_done_again(tmp_path):
    study = load_study(study_file(tmp_path, {"bad": DIVERGING, "good": {}, "fine": {"model": {"warmup": 0.5}}}))
    results = tmp_path / "results"
    bad, *others = [run.folder(results) for run in study.runs]

    outcome = run_study(study, results, 2, quiet())
    assert (outcome.finished, outcome.stopped) == (2, False)
    assert list(outcome.failures) == ["diverging, seed 0"]
    assert outcome.failures["diverging, seed 0"].startswith("FloatingPointError: at step ")
    assert "FloatingPointError" in bad.failure.read_text()
    assert [folder.state() for folder in (bad, *others)] == ["failed", "finished", "finished"]

    written = [(folder.path / "result.json").stat().st_mtime_ns for folder in others]
    assert run_study(study, results, 2, quiet()).failures.keys() == outcome.failures.keys()
    assert [(folder.path / "result.json").stat().st_mtime_ns for folder in others] == written

    alone = RunFolder(tmp_path / "alone")
    train(study.runs[1], alone, "test", lambda *_: None, lambda: False)
    torch.testing.assert_close(weights(others[0]), weights(alone), rtol=0, atol=0)


@pytest.mark.slow
def test_a_run_whose_process_is_killed_is_said_to_be_and_costs_the_others_nothing(tmp_path):
    killed = {"name": "killed", "data": {"augmentations": [{"class_path": "runs.Deadly"}]}}
    study = load_study(study_file(tmp_path, {"bad": killed, "good": {}}, seeds=[0, 1]))
    outcome = run_study(study, tmp_path / "results", 1, quiet())
    assert outcome.failures.keys() >= {"killed, seed 0"}
    assert all("its process was killed" in reason for reason in outcome.failures.values())
    assert outcome.failures.keys() == {"killed, seed 0", "killed, seed 1"}
    assert outcome.finished == 2


@pytest.mark.slow
def test_a_run_that_another_process_is_training_is_left_to_it(tmp_path):
    study = load_study(study_file(tmp_path, {"one": {}, "two": {"model": {"warmup": 0.5}}}))
    mine = study.runs[0].folder(tmp_path / "results")
    mine.path.mkdir(parents=True)
    with mine.lock():
        outcome = run_study(study, tmp_path / "results", 1, quiet())
    assert outcome == Outcome(1, {"one, seed 0": "another process is training it"}, False)
    assert mine.state() == "waiting"


def test_a_study_that_is_finished_starts_no_process(tmp_path, monkeypatch):
    study = load_study(study_file(tmp_path, {"one": {}}))
    train(study.runs[0], study.runs[0].folder(tmp_path / "results"), "test", lambda *_: None, lambda: False)
    monkeypatch.setattr(runner, "ProcessPoolExecutor", lambda *_: pytest.fail("a process was started"))
    assert run_study(study, tmp_path / "results", 2, quiet()) == Outcome(1, {}, False)


def test_a_run_that_an_earlier_study_asked_for_is_not_done_again(tmp_path, monkeypatch):
    run = small_run(tmp_path)
    train(run, run.folder(tmp_path / "results"), "test", lambda *_: None, lambda: False)
    monkeypatch.setattr(runner, "ProcessPoolExecutor", lambda *_: pytest.fail("a process was started"))
    study = load_study(study_file(tmp_path, {"base": {}}))
    assert run_study(study, tmp_path / "results", 2, quiet()).finished == 1


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_results_that_cannot_be_written_are_an_error_before_any_work(tmp_path, monkeypatch, below):
    (tmp_path / "file").touch()
    monkeypatch.setattr(runner, "ProcessPoolExecutor", lambda *_: pytest.fail("a process was started"))
    study = load_study(study_file(tmp_path, {"one": {}}))
    with pytest.raises(OSError, match=r"results folder .*file.* cannot be written \(.*\): give another with --results"):
        run_study(study, tmp_path / "file" / below, 1, quiet())


def test_looking_whether_results_can_be_written_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / "new" / "results")
    assert list((tmp_path / "new" / "results").iterdir()) == []
