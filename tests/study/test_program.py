import os
import sys
import threading
import time

import pytest
import torch
from rich.console import Console
from runs import write

from ebm.callbacks import Stopped
from ebm.study.configuration import ConfigError
from ebm.study.program import numbers, publish
from ebm.study.report import write_report
from ebm.study.results import collect
from ebm.study.runner import run_study
from ebm.study.sweep import load_study
from ebm.study.training import train

# Says the product of what it is given, and leaves a trace of having been called.
PROGRAM = """
import argparse, pathlib, sys, time
from ebm.study.program import publish
parser = argparse.ArgumentParser()
parser.add_argument("--factor", type=float)
parser.add_argument("--seed", type=int)
parser.add_argument("--pause", type=float, default=0.0)
options = parser.parse_args()
with pathlib.Path("calls.txt").open("a") as file:
    file.write(f"{options.factor} {options.seed}\\n")
print("at work", file=sys.stderr)
time.sleep(options.pause)
print("a line before the last")
publish({"made/product": options.factor * options.seed, "made/nothing": float("nan")})
"""


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)


def sweep(folder, source=PROGRAM, factors=(2, 3), **more):
    """A study of a program, which lies beside it."""
    (folder / "tools").mkdir(parents=True, exist_ok=True)
    (folder / "tools" / "multiply.py").write_text(source)
    contents = {
        "name": "products",
        "description": "What is the product?",
        "program": "tools/multiply.py",
        "method": "grid",
        "metric": {"name": "made/product", "goal": "maximize"},
        "parameters": {"factor": {"values": list(factors)}, "seed": {"values": [1, 2]}},
        "command": ["${env}", "${interpreter}", "${program}", "${args}"],
    }
    return write(folder / "products.yaml", contents | more)


def one(folder, *extra, source=PROGRAM):
    """A single run of the program, and its folder."""
    run = load_study(sweep(folder, source, factors=(2,)), extra, seeds=[5]).runs[0]
    return run, run.folder(folder / "results")


def never():
    return False


def test_each_point_of_the_grid_is_a_call_of_the_program_and_its_last_line_is_what_came_of_it(tmp_path, monkeypatch):
    study = load_study(sweep(tmp_path))
    outcome = run_study(study, tmp_path / "results", 2, Console(quiet=True))
    assert (outcome.finished, outcome.failures) == (4, {})
    table = collect(study, tmp_path / "results").table
    assert list(table["arm"]) == ["factor=2", "factor=2", "factor=3", "factor=3"]
    assert list(table["made/product"]) == [2, 4, 3, 6]
    assert table["made/nothing"].isna().all()
    assert (table["seconds"] > 0).all()


def test_a_finished_run_is_not_called_again(tmp_path):
    run, folder = one(tmp_path)
    train(run, folder, "test", print, never)
    train(run, folder, "test", print, never)
    assert (tmp_path / "calls.txt").read_text() == "2.0 5\n"


def test_the_report_of_such_a_study_shows_its_numbers(tmp_path):
    study = load_study(sweep(tmp_path))
    run_study(study, tmp_path / "results", 2, Console(quiet=True))
    page = write_report(study, tmp_path / "results", tmp_path / "page.html", "ebm study report").read_text()
    assert "factor=3 has the highest mean made/product, 4.5" in page


def test_where_the_program_lies_is_no_part_of_what_a_run_is_but_its_options_are(tmp_path):
    here, there = one(tmp_path / "here")[0], one(tmp_path / "there")[0]
    assert here.id == there.id
    assert here.id != one(tmp_path / "here", "--pause=0.5")[0].id
    assert here.id != here.with_seed(6).id


def test_an_option_that_the_program_does_not_take_fails_with_what_it_says(tmp_path):
    run, folder = one(tmp_path, "--faktor=3")
    with pytest.raises(RuntimeError, match=r"ended with code 2(.|\n)*unrecognized arguments: --faktor=3"):
        train(run, folder, "test", print, never)
    assert folder.state() == "failed"


def test_an_error_in_the_program_is_told_with_its_traceback(tmp_path):
    run, folder = one(tmp_path, source="raise ValueError('no such statistic')")
    with pytest.raises(RuntimeError, match=r"ended with code 1(.|\n)*multiply.py(.|\n)*no such statistic"):
        train(run, folder, "test", print, never)


def test_a_run_that_is_stopped_ends_its_program_at_once_and_begins_again_the_next_time(tmp_path):
    run, folder = one(tmp_path, "--pause=60")
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    start = time.monotonic()
    with pytest.raises(Stopped):
        train(run, folder, "test", print, stop.is_set)
    assert time.monotonic() - start < 30
    assert folder.state() == "waiting"


def test_a_program_gets_the_threads_of_the_run_it_is(tmp_path):
    source = "import torch\nfrom ebm.study.program import publish\npublish({'threads/torch': torch.get_num_threads()})"
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run, folder = one(tmp_path, source=source)
        train(run, folder, "test", print, never)
    finally:
        torch.set_num_threads(before)
    assert folder.result()["metrics"] == {"threads/torch": 1}


def test_what_its_module_defines_does_not_stay_in_this_process(tmp_path):
    before, where = list(sys.argv), os.getcwd()
    run, folder = one(tmp_path)
    train(run, folder, "test", print, never)
    assert (sys.argv, os.getcwd()) == (before, where)


def test_a_program_that_is_not_there_is_named_before_any_work(tmp_path):
    path = sweep(tmp_path, program="tools/divide.py")
    with pytest.raises(ConfigError, match=r"names tools/divide.py, which is neither here nor in a folder above"):
        load_study(path)


@pytest.mark.parametrize("command", [[], ["${env}", "python", "${args}"], ["${interpreter}", "${program}"]])
def test_a_command_that_is_neither_a_fit_nor_a_program_says_what_it_should_be(tmp_path, command):
    with pytest.raises(ConfigError, match="needs a `command` such as"):
        load_study(sweep(tmp_path, command=command))


@pytest.mark.parametrize("last", ["", "done", "3", '{"product": 3}', '{"made/product": "three"}', '{"made/yes": true}'])
def test_a_last_line_that_is_no_object_of_named_numbers_is_refused(last):
    with pytest.raises(ValueError, match=r"the last line that multiply.py prints should be a JSON object"):
        numbers(f"something before\n{last}", "multiply.py")


def test_published_numbers_are_read_back_to_the_last_bit(capsys):
    given = {"a/third": 1 / 3, "a/million": 1e6}
    publish(given)
    assert numbers("before\n" + capsys.readouterr().out, "program.py") == given


@pytest.mark.filterwarnings("ignore:There is a wandb run already:UserWarning")  # the logger takes it, as is meant
def test_under_an_agent_of_wandb_the_program_logs_its_numbers_to_it(tmp_path, monkeypatch, capsys):
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SWEEP_ID", "of-a-test")
    logged = []
    monkeypatch.setattr(wandb.Run, "log", lambda self, data, *args, **kwargs: logged.append(dict(data)))
    publish({"made/product": 6.0})
    assert {"made/product": 6.0}.items() <= logged[0].items()
