"""The study of the latent: each of its arms trains, in steps so few that what they log is all that is looked at."""

import pytest
import yaml
from runs import ROOT, STUDIES

from ebm.study.configuration import resolve
from ebm.study.training import train

ARMS = sorted((STUDIES / "arms" / "latent").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.chdir(ROOT)  # a study names its files from there


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.stem)
def test_every_arm_with_a_latent_trains_and_is_metered(tmp_path, arm):
    base = STUDIES / "latent" / "digits.yaml"
    small = ["--data.source=ebm.data.Subset", "--data.source.source=ebm.data.Digits"]
    small += ["--data.source.train=16", "--data.source.test=16", "--data.batch_size=16"]
    small += ["--trainer.max_steps=1", "--trainer.log_every_n_steps=1", "--trainer.check_val_every_n_epoch=1"]
    run, results = resolve(["--config", str(base), "--config", str(arm), *small, f"--results={tmp_path}"])
    folder = run.folder(results)
    train(run, folder, "test", lambda *_: None, lambda: False)
    metrics = folder.result()["metrics"]
    assert folder.result()["arm"] == yaml.safe_load(arm.read_text())["name"]
    assert 0 <= metrics["code/auroc_mismatched"] <= 1
    assert 0 <= metrics["code/without_x"] <= 1
    assert (metrics["code/latent_nats"] == 0) == (arm.stem == "control")


def test_the_study_runs_every_arm_that_there_is():
    named = yaml.safe_load((STUDIES / "latent.yaml").read_text())["parameters"]["config"]["values"]
    assert sorted(named) == [str(arm.relative_to(ROOT)) for arm in ARMS]
