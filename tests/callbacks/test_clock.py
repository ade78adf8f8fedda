import types

import pytest
import pytorch_lightning as pl
from runs import lives, small_run

from ebm.callbacks import Clock, clock
from ebm.study.store import RunFolder

STEPS = 20  # of a small run: 4 epochs of 5, validated after every second


class Time(pl.Callback):
    """A clock that goes on by one second a step and by a hundred a validation."""

    now = 0.0

    def on_train_batch_start(self, *_):
        Time.now += 1

    def on_validation_batch_start(self, *_):
        Time.now += 100


@pytest.fixture(autouse=True)
def _time(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(Time, "now", 0.0)
    monkeypatch.setattr(clock, "time", types.SimpleNamespace(perf_counter=lambda: Time.now))


def seconds(tmp_path, *options, stops=()):
    def wait():
        Time.now += 1e6  # until someone goes on with it

    run = small_run(tmp_path, "--trainer.callbacks=[test_clock.Time]", *options)
    return lives(run, RunFolder(tmp_path / "run"), stops, wait).result()["seconds"]


def test_the_clock_counts_training_and_leaves_out_validation(tmp_path):
    assert seconds(tmp_path) == STEPS


def test_the_clock_leaves_out_validation_within_an_epoch(tmp_path):
    assert seconds(tmp_path, "--trainer.val_check_interval=2", "--trainer.check_val_every_n_epoch=1") == STEPS


@pytest.mark.parametrize("stops", [[3], [5], [10], [12], [3, 7, 16]], ids=str)
def test_the_clock_adds_up_the_lives_of_a_run_and_leaves_out_the_time_between(tmp_path, stops):
    assert seconds(tmp_path, stops=stops) == STEPS


def test_a_clock_goes_on_from_what_it_had_counted():
    first = Clock()
    first.on_train_start(None, None)
    Time.now += 5
    second = Clock()
    second.load_state_dict(first.state_dict())
    Time.now += 1000
    second.on_train_start(None, None)
    Time.now += 3
    second.on_train_end(None, None)
    assert second.seconds == 8
    assert second.state_dict() == {"seconds": 8}
