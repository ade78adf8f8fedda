"""What is read back is what runs wrote, and a study that is not complete says what it lacks."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ebm.study.configuration import Run
from ebm.study.results import collect
from ebm.study.store import write_text
from ebm.study.sweep import Study

VERSIONS = {"ebm-lab": "0.1.0", "python": "3.12.1"}
MACHINE = {"processor": "abacus", "cores": "1"}


def study_of(arms, seeds, question="Which arm?", metric="probe/linear"):
    """A study whose configurations say no more than the name and the seed."""
    runs = [Run(arm, seed, yaml.safe_dump({"arm": arm, "seed": seed})) for arm in arms for seed in seeds]
    return Study(Path("nowhere/study.yaml"), "small", question, metric, "maximize", tuple(runs))


def finish(run, results, metrics=None, codes=None, history=True, **facts):
    """Write what a run that is trained to its end leaves behind."""
    noise = np.random.default_rng(run.seed)
    folder = run.folder(results)
    folder.path.mkdir(parents=True)
    for step in (10, 20) if history else ():
        folder.append({"step": step - 1, "loss/total": 100.0 / step + run.seed, "epoch": step})
        folder.append({"step": step, "probe/linear": 0.04 * step + 0.01 * run.seed})
    arrays = {"code": noise.normal(size=(40, 6)), "representation": noise.normal(size=(40, 5))} | (codes or {})
    result = {"arm": run.arm, "seed": run.seed, "seconds": 1.5, "steps": 20, "versions": VERSIONS, "machine": MACHINE}
    metrics = {"probe/linear": 0.8 + 0.01 * run.seed} | (metrics or {})
    folder.write_result(result | {"metrics": metrics} | facts, arrays | {"label": np.arange(40) % 4})


def test_the_table_holds_every_number_of_every_finished_run(tmp_path):
    study = study_of(["one", "two"], [0, 1])
    for run in study.runs:
        finish(run, tmp_path, {"code/std": 2.0 + run.seed})
    found = collect(study, tmp_path)
    assert found.arms == ["one", "two"]
    assert found.metrics == ["probe/linear", "code/std"]
    assert found.table[["arm", "seed", "seconds", "steps", "code/std"]].to_numpy().tolist() == [
        ["one", 0, 1.5, 20, 2.0],
        ["one", 1, 1.5, 20, 3.0],
        ["two", 0, 1.5, 20, 2.0],
        ["two", 1, 1.5, 20, 3.0],
    ]
    assert list(found.table["folder"]) == [run.id for run in study.runs]
    assert found.unfinished == ()


def test_the_history_holds_one_row_for_each_number_that_was_logged(tmp_path):
    study = study_of(["one"], [3])
    finish(study.runs[0], tmp_path)
    rows = collect(study, tmp_path).history.sort_values(["metric", "step"])
    expected = {"step": [9, 19, 10, 20], "value": [13.0, 8.0, 0.43, 0.83]}
    assert list(rows["metric"]) == ["loss/total"] * 2 + ["probe/linear"] * 2
    assert list(rows["step"]) == expected["step"]
    np.testing.assert_allclose(rows["value"], expected["value"])
    assert set(rows["arm"]) == {"one"}
    assert set(rows["seed"]) == {3}


def test_spectra_are_standard_deviations_along_principal_directions(tmp_path):
    study = study_of(["one"], [0])
    codes = np.random.default_rng(1).normal(size=(40, 3)) @ np.diag([5.0, 1.0, 0.1]) + 7
    finish(study.runs[0], tmp_path, codes={"code": codes})
    spectra = collect(study, tmp_path).spectra
    values = spectra.loc[spectra["kind"] == "code", "value"]
    expected = np.linalg.eigvalsh(np.cov(codes.T, bias=True))[::-1] ** 0.5
    np.testing.assert_allclose(values, expected, rtol=1e-10)  # forty roundings, squared and unsquared
    assert list(spectra.loc[spectra["kind"] == "code", "index"]) == [1, 2, 3]


def test_codes_are_those_of_the_first_seed_that_is_finished(tmp_path):
    study = study_of(["one"], [4, 5, 6])
    for run in study.runs[1:]:
        finish(run, tmp_path, codes={"code": np.full((40, 2), float(run.seed))})
    found = collect(study, tmp_path)
    assert found.codes["one"]["code"][0, 0] == 5.0
    assert found.seeds_of("one") == [5, 6]


def test_runs_that_failed_or_are_missing_are_listed_with_the_reason(tmp_path):
    study = study_of(["one"], [0, 1, 2])
    finish(study.runs[0], tmp_path)
    write_text(study.runs[1].folder(tmp_path).failure, "FloatingPointError: not finite\n")
    failed, missing = collect(study, tmp_path).unfinished
    assert (failed.seed, failed.state, failed.reason) == (1, "failed", "FloatingPointError: not finite")
    assert (missing.seed, missing.state, missing.reason) == (2, "waiting", "")


def test_nothing_finished_is_an_error_that_says_what_to_do(tmp_path):
    study = study_of(["one"], [0, 1])
    with pytest.raises(ValueError, match=r"none of the 2 runs .* `ebm study run nowhere/study.yaml`"):
        collect(study, tmp_path)
    write_text(study.runs[1].folder(tmp_path).failure, "MemoryError: too large\n")
    with pytest.raises(ValueError, match="1 failed, the first, one, seed 1: MemoryError: too large"):
        collect(study, tmp_path)


def test_a_metric_that_was_not_finite_is_missing(tmp_path):
    study = study_of(["one"], [0])
    finish(study.runs[0], tmp_path, {"code/auroc": float("nan")})
    assert pd.isna(collect(study, tmp_path).table["code/auroc"]).all()


def test_codes_that_are_not_finite_have_no_spectrum(tmp_path):
    study = study_of(["one"], [0])
    finish(study.runs[0], tmp_path, codes={"code": np.full((40, 2), np.nan)})
    assert set(collect(study, tmp_path).spectra["kind"]) == {"representation"}


def test_versions_in_which_runs_differ_are_found(tmp_path):
    study = study_of(["one"], [0, 1])
    finish(study.runs[0], tmp_path)
    finish(study.runs[1], tmp_path, versions=VERSIONS | {"python": "3.13.0"}, machine=MACHINE | {"accelerator": "loom"})
    assert collect(study, tmp_path).mixed == {
        "python": ["3.12.1", "3.13.0"],
        "accelerator": ["not recorded", "loom"],
    }


def test_two_configurations_under_one_name_and_seed_are_refused(tmp_path):
    runs = (Run("one", 0, "rate: 1"), Run("one", 0, "rate: 2"))
    study = Study(Path("study.yaml"), "small", "", "probe/linear", "maximize", runs)
    with pytest.raises(ValueError, match="both called 'one', seed 0"):
        collect(study, tmp_path)
