from functools import cache
from pathlib import Path

import pytest
import yaml
from runs import lives, small_run, weights

from ebm.study.store import RunFolder

STUDY = Path(__file__).parents[2] / "benchmarks" / "studies" / "world_model.yaml"
FEW = (
    *("--data.source.train=24", "--data.source.held_out=8", "--data.batch_size=8"),
    *("--trainer.max_steps=5", "--trainer.check_val_every_n_epoch=1", "--trainer.log_every_n_steps=1"),
)


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


@cache
def config():
    return yaml.safe_load(STUDY.read_text())


def test_a_world_model_is_trained_from_its_file_with_what_it_foresees_as_metrics(tmp_path):
    run = small_run(tmp_path, *FEW, base=config())
    metrics = lives(run, RunFolder(tmp_path / "run")).result()["metrics"]
    assert metrics.keys() >= {
        "code/explained_first",
        "code/explained_last",
        "code/change_last",
        "code/trajectory_effective_rank",
    }


def test_a_run_that_was_stopped_goes_on_to_the_same_weights_with_the_same_pieces(tmp_path):
    run = small_run(tmp_path, *FEW, base=config())
    whole = lives(run, RunFolder(tmp_path / "whole"))
    stopped = lives(run, RunFolder(tmp_path / "stopped"), stops=[2, 4])
    for name, value in weights(whole).items():
        assert value.equal(weights(stopped)[name]), name


def test_pieces_too_long_for_the_trajectories_are_refused_before_anything_is_trained(tmp_path):
    run = small_run(tmp_path, *FEW, "--data.steps=99", base=config())
    with pytest.raises(ValueError, match="pieces of 99 steps"):
        lives(run, RunFolder(tmp_path / "run"))
