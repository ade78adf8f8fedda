"""The studies that come with the project: each can be run, and each of its arms trains."""

import pytest
import torch
import yaml
from runs import ROOT, STUDIES, Colours
from torch import nn

from ebm.study.configuration import resolve
from ebm.study.sweep import load_study
from ebm.study.training import train

FILES = sorted(path for path in STUDIES.glob("*.yaml") if "parameters" in yaml.safe_load(path.read_text()))
CIFAR = sorted((STUDIES / "arms" / "cifar10").glob("*.yaml"))
BINARY = sorted((STUDIES / "arms" / "binary").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(ROOT)  # a study names its files from there


class Slim(nn.Module):
    """In place of a deep network: as many features of an image, from one layer."""

    def __init__(self, features: int = 512) -> None:
        super().__init__()
        self.layer = nn.Linear(3, features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.mean((-2, -1)))


def two_steps(tmp_path, *words):
    run, results = resolve([*words, f"--results={tmp_path}", "--trainer.accelerator=cpu", "--trainer.max_steps=2"])
    folder = run.folder(results)
    train(run, folder, "test", lambda *_: None, lambda: False)
    return folder.result()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_study_has_a_question_a_control_and_runs_that_can_be_made(path):
    study = load_study(path)
    assert yaml.safe_load(path.read_text())["description"].endswith("?")
    assert study.runs[0].is_program or "control" in study.arms[0]
    assert len({run.id for run in study.runs}) == len(study.runs) >= 2 * len(study.arms)


@pytest.mark.parametrize("arm", CIFAR, ids=lambda arm: arm.stem)
def test_every_arm_for_natural_images_trains_with_its_own_augmentations(tmp_path, arm):
    base = STUDIES / "cifar10" / "resnet18.yaml"
    small = ["--data.source=runs.Colours", "--data.batch_size=8", "--trainer.precision=32-true"]
    small += ["--trainer.log_every_n_steps=1", "--model.energy.encoder=test_studies.Slim"]
    small += ["--trainer.check_val_every_n_epoch=1"]
    result = two_steps(tmp_path, "--config", str(base), "--config", str(arm), *small)
    assert result["arm"] == yaml.safe_load(arm.read_text())["name"]
    assert result["steps"] == 2
    assert 0 <= result["metrics"]["probe/online"] <= 1


@pytest.mark.parametrize("arm", BINARY, ids=lambda arm: arm.stem)
def test_every_arm_for_binary_data_trains(tmp_path, arm):
    base = STUDIES / "binary" / "digits.yaml"
    result = two_steps(tmp_path, "--config", str(base), "--config", str(arm), "--trainer.log_every_n_steps=1")
    assert result["metrics"]["code/bits"] > 0


def test_colours_are_images_of_the_size_that_the_recipes_are_for():
    images, labels = Colours().load("train")[:]
    assert images.shape[1:] == (3, 32, 32)
    assert labels.max() == 9
