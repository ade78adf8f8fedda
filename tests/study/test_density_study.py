"""A study of densities: points in the plane, meters of their own, and no representation to probe."""

import pytest
from runs import STUDIES, lives, small_run, study_file
from test_resuming import assert_the_same_to_the_bit

from ebm.cli import main
from ebm.data import Points, TwoViews
from ebm.study.configuration import build
from ebm.study.store import RunFolder
from ebm.study.sweep import load_study

LOSS = "ebm.losses.density.PersistentContrastiveDivergence"

# Persistent chains, which have the most to save.
POINTS = {
    "model": {
        "energy": {
            "class_path": "ebm.energies.Density",
            "init_args": {
                "network": {
                    "class_path": "ebm.networks.MLP",
                    "init_args": {"widths": [2, 8, 1], "activation": "torch.nn.SiLU"},
                }
            },
        },
        "losses": {"pcd": {"weight": 1, "fn": {"class_path": LOSS, "init_args": {"steps": 2, "size": 20}}}},
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
    },
    "data": {
        "class_path": "ebm.data.Points",
        "init_args": {
            "source": {"class_path": "ebm.data.TwoMoons", "init_args": {"train": 40, "held_out": 20}},
            "batch_size": 8,
        },
    },
    "meters": ["ebm.meters.density"],
    "probes": False,
    "trainer": {"accelerator": "cpu", "max_epochs": 2, "log_every_n_steps": 1, "check_val_every_n_epoch": 2},
}


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def test_a_run_that_stops_and_goes_on_ends_as_if_it_had_not(tmp_path):
    run = small_run(tmp_path, base=POINTS)
    whole = lives(run, RunFolder(tmp_path / "whole"))
    assert_the_same_to_the_bit(lives(run, RunFolder(tmp_path / "stopped"), [1, 5, 7]), whole)
    assert {"code/mmd", "code/nll", "code/auroc_grid"} <= whole.result()["metrics"].keys()


def test_a_run_without_probes_keeps_no_codes_and_reports_no_accuracy(tmp_path):
    folder = lives(small_run(tmp_path, base=POINTS), RunFolder(tmp_path / "run"))
    assert folder.codes() == {}
    assert not [name for name in folder.result()["metrics"] if name.startswith(("probe/", "representation/"))]


def test_a_study_without_probes_is_run_and_reported_without_codes(tmp_path, capsys):
    arms = {"one": {"model": {"warmup": 0.1}}, "two": {"model": {"warmup": 0.2}}}
    metric = {"metric": {"name": "code/mmd", "goal": "minimize"}}
    study = study_file(tmp_path, arms, base=POINTS, **metric)
    results = ["--results", str(tmp_path / "results")]
    assert main(["study", "run", str(study), *results, "--workers", "1"]) == 0
    assert main(["study", "report", str(study), *results]) == 0
    html = (tmp_path / "results" / "small.html").read_text()
    assert "has the lowest mean squared MMD between density and held-out points" in html
    assert 'id="curves"' in html
    assert 'id="codes"' not in html
    assert 'id="spectra"' not in html


def test_the_study_of_densities_is_every_loss_on_every_distribution_from_five_seeds():
    study = load_study(STUDIES / "density.yaml")
    losses, sources = zip(*(arm.split(", data.source=ebm.data.") for arm in study.arms), strict=True)
    assert set(sources) == {"TwoMoons", "EightGaussians", "Checkerboard", "Rings"}
    assert len(set(losses)) == 9
    assert losses[0].endswith("(control)")
    assert len(study.runs) == 9 * 4 * 5
    assert (study.metric, study.goal) == ("code/mmd", "minimize")


def test_data_is_two_views_unless_a_class_is_named(tmp_path):
    assert type(build(small_run(tmp_path)).data) is TwoViews
    assert type(build(small_run(tmp_path, base=POINTS)).data) is Points
