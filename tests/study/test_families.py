"""The studies that come in several files, a sweep for each method: each can be run."""

import pytest
import yaml
from runs import ROOT, STUDIES

from ebm.study.sweep import load_study

FILES = sorted([*(STUDIES / "meter_probe").glob("*.yaml"), *(STUDIES / "terms").glob("*.yaml")])
DATA = sorted((STUDIES / "meter_probe" / "data").glob("*.yaml"))


def corner(path, folder):
    """The study with the last value of each parameter alone: the grids have a hundred points, half a second each."""
    sweep = yaml.safe_load(path.read_text())
    for parameter in sweep["parameters"].values():
        if "values" in parameter:
            parameter["values"] = parameter["values"][-1:]
    small = folder / path.name
    small.write_text(yaml.safe_dump(sweep))
    return small


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_file_of_a_family_has_a_question_and_a_run_that_can_be_made(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # a study names its files from there
    study = load_study(corner(path, tmp_path))
    assert study.question.endswith("?")
    assert len(study.runs) == 1


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.stem)
def test_other_images_take_the_place_of_the_digits(path, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = [f"--data={path}", "--data.source.init_args.source.init_args.path=somewhere"]
    study = load_study(corner(STUDIES / "meter_probe" / "control.yaml", tmp_path), options)
    data = yaml.safe_load(study.runs[0].config)["data"]["init_args"]
    assert data["source"]["init_args"]["source"]["init_args"]["path"] == "somewhere"
    assert data["batch_size"] == 128
