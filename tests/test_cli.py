import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from runs import ROOT, STUDIES, arguments, environment, small_run, study_file

import ebm
from ebm.cli import main
from ebm.study import runner
from ebm.study.sweep import load_study
from ebm.study.training import train


@pytest.fixture(autouse=True)
def _plain(monkeypatch):
    """No tracking, and lines wide enough for the paths of a test."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "400")


def said(capsys):
    out, err = capsys.readouterr()
    return " ".join(out.split()), err


def ended(words):
    """The exit status, whether it is returned or raised."""
    try:
        return main(words)
    except SystemExit as exit:
        return exit.code


@pytest.mark.parametrize(
    ("words", "mentioned"),
    [
        (["--help"], ["fit", "study", "ebm study run benchmarks/studies/collapse.yaml", "WANDB_MODE"]),
        (["study", "--help"], ["run", "status", "report"]),
        (["study", "run", "--help"], ["--results", "--seeds", "--workers", "-- --trainer.max_epochs=5"]),
        (["study", "status", "--help"], ["--results", "--seeds"]),
        (["study", "report", "--help"], ["--results", "--seeds", "--out"]),
        (
            ["fit", "--help"],
            ["--config", "--seed", "--results", "--model.energy", "--data.help", "--trainer.max"],
        ),
    ],
    ids=lambda words: " ".join(words) if words[-1] == "--help" else "",
)
def test_help_names_the_options(capsys, words, mentioned):
    assert ended(words) == 0
    out, err = said(capsys)
    assert all(name in out for name in mentioned)
    assert not err


def test_every_option_of_fit_says_what_it_is_for(capsys):
    ended(["fit", "--help"])
    out, _ = said(capsys)
    assert "of the weights, the order of the data and the augmentations" in out
    assert "Classes are named by import path" in out


def test_the_version_is_that_of_the_package(capsys):
    assert ended(["--version"]) == 0
    assert said(capsys)[0] == f"ebm-lab {ebm.__version__}"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ([], "COMMAND"),
        (["fti"], "'fti'"),
        (["study"], "COMMAND"),
        (["study", "rnu", "study.yaml"], "'rnu'"),
        (["study", "run"], "study"),
        (["study", "run", "study.yaml", "--wrokers", "2"], "--wrokers"),
        (["study", "run", "study.yaml", "--workers", "0"], "at least 1 run at a time, got 0"),
        (["study", "run", "study.yaml", "--workers", "two"], "two"),
        (["study", "run", "study.yaml", "--seeds", "a"], "'a'"),
    ],
    ids=" ".join,
)
def test_what_is_no_command_ends_with_status_2_and_what_was_wrong(capsys, words, problem):
    assert ended(words) == 2
    out, err = said(capsys)
    assert problem in err
    assert not out


@pytest.mark.parametrize("words", [["fit"], ["study", "run", "nowhere.yaml"], ["study", "status", "nowhere.yaml"]])
def test_what_is_not_configured_ends_with_status_2_and_one_line(capsys, words):
    assert main(words) == 2
    out, err = said(capsys)
    assert err.startswith("ebm: ")
    assert err.count("\n") == 1
    assert not out


def test_a_misspelt_option_of_a_run_ends_with_status_2_and_the_nearest(capsys, tmp_path):
    assert main(["fit", *arguments(tmp_path, "--model.warmpu=0.1")]) == 2
    assert "Did you mean model.warmup?" in said(capsys)[1]
    assert not (tmp_path / "results").exists()


def test_a_run_is_trained_once_and_its_numbers_are_shown(capsys, tmp_path):
    words = arguments(tmp_path, "--trainer.max_epochs=1")
    assert main(["fit", *words]) == 0
    folder = small_run(tmp_path, "--trainer.max_epochs=1").folder(tmp_path / "results")
    out, err = said(capsys)
    assert f"probe/linear {folder.result()['metrics']['probe/linear']:.4g}" in out
    assert f"kept in {folder.path}" in out
    assert not err

    before = (folder.path / "result.json").stat().st_mtime_ns
    assert main(["fit", *words]) == 0
    assert said(capsys)[0] == f"base, seed 0: finished before, in {folder.path}"
    assert (folder.path / "result.json").stat().st_mtime_ns == before


def test_a_run_that_fails_ends_with_status_1_and_the_reason(capsys, tmp_path):
    assert main(["fit", *arguments(tmp_path, "--model.optimizer.lr=1e30")]) == 1
    out, err = said(capsys)
    assert "the term push_down is not finite" in err
    assert "Traceback" not in out + err


def test_a_run_that_another_process_is_training_ends_with_status_2(capsys, tmp_path):
    words = arguments(tmp_path)
    folder = small_run(tmp_path).folder(tmp_path / "results")
    folder.path.mkdir(parents=True)
    with folder.lock():
        assert main(["fit", *words]) == 2
    assert "another process is training this run" in said(capsys)[1]


@pytest.mark.parametrize("command", ["fit", "study"])
def test_results_that_cannot_be_written_end_with_status_2_before_any_work(capsys, tmp_path, monkeypatch, command):
    (tmp_path / "file").touch()
    monkeypatch.setattr(runner, "ProcessPoolExecutor", lambda *_: pytest.fail("a process was started"))
    results = f"--results={tmp_path / 'file' / 'results'}"
    words = {
        "fit": ["fit", *arguments(tmp_path), results],
        "study": ["study", "run", str(study_file(tmp_path, {"one": {}})), results],
    }
    assert main(words[command]) == 2
    out, err = said(capsys)
    assert err.startswith("ebm: the results folder ")
    assert "give another with --results" in err
    assert not out


def lines(capsys):
    return capsys.readouterr().out.splitlines()


def states(capsys):
    """Arm, seed, state and metric of each row of the table of `ebm study status`."""
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines(capsys) if line.startswith("│")]
    return [tuple(row[:4]) for row in cells]


def test_status_says_what_has_become_of_each_run(capsys, tmp_path):
    path = study_file(tmp_path, {"one": {}, "two": {"name": "second", "model": {"warmup": 0.5}}}, seeds=[0, 1])
    words = ["study", "status", str(path), "--results", str(tmp_path / "results")]
    assert main(words) == 0
    assert states(capsys) == [(arm, seed, "waiting", "") for arm in ("one", "second") for seed in ("0", "1")]
    assert not (tmp_path / "results").exists()

    first, second, third, _ = load_study(path).runs
    train(first, first.folder(tmp_path / "results"), "test", lambda *_: None, lambda: False)
    for run, file in ((second, "last.ckpt"), (third, "failure.txt")):
        run.folder(tmp_path / "results").path.mkdir()
        (run.folder(tmp_path / "results").path / file).touch()
    score = first.folder(tmp_path / "results").result()["metrics"]["probe/knn"]
    assert main(words) == 0
    assert states(capsys) == [
        ("one", "0", "finished", f"{score:.4f}"),
        ("one", "1", "stopped", ""),
        ("second", "0", "failed", ""),
        ("second", "1", "waiting", ""),
    ]


def test_status_asks_the_question_and_names_the_folders(capsys, tmp_path):
    path = study_file(tmp_path, {"one": {}})
    main(["study", "status", str(path), "--results", str(tmp_path / "results")])
    shown = "".join(lines(capsys))
    assert "Which of them?" in shown
    assert str(load_study(path).runs[0].folder(tmp_path / "results").path) in shown


def test_seeds_take_the_place_of_those_of_the_file(capsys, tmp_path):
    path = study_file(tmp_path, {"one": {}}, seeds=[0, 1, 2])
    assert main(["study", "status", str(path), "--seeds", "7", "9"]) == 0
    assert [row[1] for row in states(capsys)] == ["7", "9"]


def test_options_of_fit_may_follow_for_every_run(capsys, tmp_path):
    path = study_file(tmp_path, {"one": {}, "two": {"model": {"warmup": 0.5}}})
    results = tmp_path / "results"
    for run in load_study(path, ["--trainer.max_epochs=1"]).runs:
        train(run, run.folder(results), "test", lambda *_: None, lambda: False)
    words = ["study", "status", str(path), "--results", str(results)]
    assert main([*words, "--", "--trainer.max_epochs=1"]) == 0
    assert [row[2] for row in states(capsys)] == ["finished", "finished"]
    assert main(words) == 0
    assert [row[2] for row in states(capsys)] == ["waiting", "waiting"]
    assert main([*words, "--", "--trainer.max_epoch=1"]) == 2
    assert "Did you mean trainer.max_epochs?" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--seed=5", "--results=elsewhere", "--name=mine"])
def test_an_option_that_a_study_sets_itself_is_refused_and_not_passed_over(capsys, tmp_path, option):
    path = study_file(tmp_path, {"one": {}, "two": {"model": {"warmup": 0.5}}})
    assert main(["study", "status", str(path), "--", option]) == 2
    assert option.split("=")[0] in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_is_run_and_ends_with_status_1_if_a_run_failed(capsys, tmp_path):
    bad = {"name": "diverging", "model": {"optimizer": {"init_args": {"lr": 1e30}}}}
    path = study_file(tmp_path, {"bad": bad, "good": {}})
    words = ["study", "run", str(path), "--results", str(tmp_path / "results"), "--workers", "1", "--seeds", "4"]
    words += ["--", "--trainer.max_epochs=1"]
    assert main(words) == 1
    out, err = said(capsys)
    assert "small: 2 runs, 0 finished before, 1 at a time" in out
    assert "[1/2] good, seed 4: probe/knn" in out
    assert "1 of 2 runs are finished" in out
    assert err.startswith("failed: diverging, seed 4: FloatingPointError: at step")
    states = [run.folder(tmp_path / "results").state() for run in load_study(path, words[-1:], [4]).runs]
    assert states == ["failed", "finished"]


def test_the_command_is_installed():
    (script,) = entry_points(group="console_scripts", name="ebm")
    assert script.load() is main


def test_help_does_not_wait_for_lightning(tmp_path):
    code = (
        "import sys, ebm.cli\n"
        "try: ebm.cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('slow' if {'pytorch_lightning', 'datasets', 'wandb'} & set(sys.modules) else 'fast')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment(), cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.stdout.splitlines()[-1] == "fast", shown.stderr


@pytest.mark.parametrize("words", [["fit", "--config", "{base}", "--config", "{arm}", "--print_config"]])
def test_a_configuration_is_shown_and_nothing_is_trained(capsys, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    files = {"base": STUDIES / "digits.yaml", "arm": STUDIES / "arms" / "vicreg.yaml"}
    assert ended([word.format(**files) for word in words]) == 0
    assert "ebm.regularizers.Covariance" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_examples_of_the_help_are_about_files_that_exist(capsys):
    ended(["--help"])
    named = [word for word in capsys.readouterr().out.split() if word.endswith(".yaml")]
    assert named
    assert all((ROOT / name).exists() for name in named)
