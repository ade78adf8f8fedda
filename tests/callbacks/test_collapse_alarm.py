import math
import warnings

import pytest
import pytorch_lightning as pl
import torch
from conftest import normal
from runs import Noise, Stripes, small_run, weights
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ebm.callbacks import CollapseAlarm
from ebm.data import TwoViews
from ebm.energies import JointEmbedding
from ebm.learner import Learner, Term
from ebm.losses import PushDown
from ebm.meters import diagnose
from ebm.meters.kinds import SEVERITY
from ebm.networks import MLP
from ebm.regularizers import Covariance, Variance
from ebm.study.store import RunFolder
from ebm.study.training import train

# Lightning's advice: that a loader could have workers.
pytestmark = pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


def trainer(callbacks, path, **settings):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    quiet |= {"accelerator": "cpu", "enable_checkpointing": False, "inference_mode": False, "log_every_n_steps": 1}
    return pl.Trainer(callbacks=callbacks, default_root_dir=path, **(quiet | settings))


def learner(bias=0.0):
    """One whose codes are its inputs times a weight that is not trained: 1, or 0 where they are to be one point."""
    energy = JointEmbedding(nn.Linear(8, 8, bias=False))
    with torch.no_grad():
        energy.encoder.weight.copy_(torch.eye(8) * (1 - bias))
    return Learner(energy, {"push": Term(1, PushDown())}, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))


def pairs(rows=200, batch_size=50):
    x = normal(rows, 8, dtype=torch.float32)
    return DataLoader(TensorDataset(x, x + 0.1 * normal(rows, 8, seed=1, dtype=torch.float32)), batch_size)


def test_it_logs_how_far_each_kind_is_beyond_its_threshold_over_all_held_out_pairs(tmp_path):
    module, alarm = learner(), CollapseAlarm()
    (logged,) = trainer([alarm], tmp_path).validate(module, pairs(), verbose=False)
    x, y = (torch.cat(part) for part in zip(*pairs(), strict=True))
    expected = diagnose(module.F, *module.F.energy.encode(x, y))
    assert alarm.verdict == expected
    # Lightning logs in single precision.
    assert {kind: logged[f"collapse/{kind}"] for kind in SEVERITY} == pytest.approx(expected.degrees, rel=1e-6)


def test_it_looks_at_so_many_rows_spread_over_the_whole_validation_set(tmp_path):
    """The last of four batches alone is no point: a look at the first rows would find one."""
    x = torch.cat([torch.zeros(300, 8), normal(100, 8, dtype=torch.float32)])
    alarm = CollapseAlarm(rows=100)
    trainer([alarm], tmp_path).validate(learner(), DataLoader(TensorDataset(x, x), 100), verbose=False)
    kept = torch.cat([torch.zeros(75, 8), x[300:][torch.linspace(0, 99, 25).round().long()]])
    assert "complete" not in alarm.verdict.kinds
    module = learner()
    with torch.no_grad():
        assert alarm.verdict == diagnose(module.F, *module.F.energy.encode(kept, kept), rows=100)


def test_it_warns_once_of_each_kind_with_what_helps(tmp_path):
    alarm = CollapseAlarm()
    with pytest.warns(UserWarning, match="complete; all codes are one point") as caught:
        trainer([alarm], tmp_path, max_epochs=3).fit(learner(bias=1.0), pairs(), pairs())
    ours = [str(warning.message) for warning in caught if "collapse" in str(warning.message)]
    assert len(ours) == 1
    assert "at step 4: collapse: complete" in ours[0]
    assert "try: add what keeps codes apart" in ours[0]
    assert alarm.warned == {"complete"}


def test_codes_that_do_not_collapse_raise_no_alarm(tmp_path):
    alarm = CollapseAlarm(every=1, stop=True, patience=1)
    run = trainer([alarm], tmp_path, max_epochs=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*collapse")
        run.fit(learner(), pairs(), pairs())
    assert run.current_epoch == 2
    assert alarm.warned == set()
    assert alarm.verdict.kind == "none"


@pytest.mark.parametrize("patience", [1, 3])
def test_with_stop_training_ends_when_a_kind_was_found_so_many_times_in_a_row(tmp_path, patience):
    run = trainer([CollapseAlarm(stop=True, patience=patience)], tmp_path, max_epochs=9)
    with pytest.warns(UserWarning, match="complete"):
        run.fit(learner(bias=1.0), pairs(), pairs())
    assert run.current_epoch == patience


def test_without_stop_training_goes_on(tmp_path):
    run = trainer([CollapseAlarm(patience=1)], tmp_path, max_epochs=3)
    with pytest.warns(UserWarning, match="complete"):
        run.fit(learner(bias=1.0), pairs(), pairs())
    assert run.current_epoch == 3


class Recovering(pl.Callback):
    """Sets the codes apart in every second epoch."""

    def on_train_epoch_end(self, trainer, pl_module):
        with torch.no_grad():
            pl_module.F.energy.encoder.weight.copy_(torch.eye(8) * (trainer.current_epoch % 2))


def test_a_kind_that_is_not_found_in_between_is_counted_anew(tmp_path):
    """Validation stands before the end of the epoch: points, points, codes, points, codes, and so on."""
    alarm = CollapseAlarm(stop=True, patience=3)
    run = trainer([alarm, Recovering()], tmp_path, max_epochs=8)
    with pytest.warns(UserWarning, match="complete"):
        run.fit(learner(bias=1.0), pairs(), pairs())
    assert run.current_epoch == 8


def test_training_batches_are_looked_at_every_so_many_steps_in_evaluation_mode(tmp_path):
    logged, modes = [], []

    class Looking(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            logged.append(float(trainer.callback_metrics.get("collapse_train/complete", math.nan)))
            modes.append(pl_module.training)

    encoder = nn.Sequential(nn.Linear(8, 8), nn.Dropout(1.0))  # which makes all codes zero, but in evaluation
    module = Learner(
        JointEmbedding(encoder), {"push": Term(1, PushDown())}, optimizer=lambda p: torch.optim.SGD(p, lr=0.0)
    )
    alarm = CollapseAlarm(rows=100, every=3)
    trainer([alarm, Looking()], tmp_path, max_epochs=2).fit(module, pairs())
    assert [math.isnan(value) for value in logged] == [True, True, False, False, False, False, False, False]
    assert all(modes)
    assert alarm.verdict.kind == "none"


def test_training_batches_are_not_judged_before_there_are_enough_of_them(tmp_path):
    alarm = CollapseAlarm(every=1)
    trainer([alarm], tmp_path, max_epochs=1, max_steps=1).fit(learner(), pairs(batch_size=50))
    assert alarm.verdict is None


def test_training_batches_are_the_last_that_make_so_many_rows(tmp_path):
    seen = []

    class Counting(JointEmbedding.__mro__[1]):
        def encode(self, x, y):
            if not self.training:
                seen.append(x)
            return x, y

        def cost(self, hx, hy, z=None):
            return (hx - hy).square().sum(-1) + 0 * self.weight.sum()

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

    module = Learner(Counting(), {"push": Term(1, PushDown())}, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    trainer([CollapseAlarm(rows=64, every=4)], tmp_path, max_epochs=1).fit(module, pairs())
    batches = [x for x, _ in pairs()]
    assert len(seen) == 2
    assert torch.equal(torch.cat(seen), torch.cat(batches[2:]))


def fitted(callbacks, path):
    torch.manual_seed(0)
    module = Learner(
        JointEmbedding(MLP([16, 8], norm_out=True), MLP([8, 8], norm_out=True)),
        {"invariance": Term(1, PushDown())},
        {"variance": Term(1, Variance()), "covariance": Term(1, Covariance())},
    )
    data = TwoViews(Stripes(train=80, test=70), [Noise()], batch_size=8)
    trainer(callbacks, path, max_epochs=2).fit(module, datamodule=data)
    return module


@pytest.mark.filterwarnings("ignore:at step")
def test_the_learner_is_trained_as_without_it(tmp_path):
    with_alarm, without = fitted([CollapseAlarm(rows=64, every=2)], tmp_path), fitted([], tmp_path)
    for a, b in zip(with_alarm.state_dict().values(), without.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_what_was_warned_of_and_counted_is_kept_in_checkpoints():
    alarm, restored = CollapseAlarm(), CollapseAlarm()
    alarm.warned, alarm.streaks = {"complete", "cluster"}, {"collapse/complete": 2}
    restored.load_state_dict(alarm.state_dict())
    assert restored.warned == alarm.warned
    assert restored.streaks == alarm.streaks


def test_a_run_of_ebm_fit_takes_it_by_name_and_goes_on_with_what_it_has_counted(tmp_path):
    settings = ["--data.init_args.source.init_args.test=80", "--trainer.callbacks=ebm.callbacks.CollapseAlarm"]
    run = small_run(tmp_path, *settings, "--trainer.callbacks.stop=true", "--trainer.callbacks.patience=100")
    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    train(run, whole, "test", lambda *_: None, lambda: False)
    steps = []
    with pytest.raises(Exception, match="stopped after"):
        train(run, parts, "test", lambda *_: None, lambda: steps.append(1) or len(steps) == 12)
    train(run, parts, "test", lambda *_: None, lambda: False)
    states = []
    for folder in (whole, parts):
        saved = torch.load(folder.checkpoint, weights_only=True)["callbacks"]
        (name,) = [name for name in saved if "CollapseAlarm" in name]
        states.append(saved[name])
        metrics = folder.result()["metrics"]
        assert {f"collapse/{kind}" for kind in SEVERITY} <= metrics.keys()
    assert states[0] == states[1]
    assert all(weights(whole)[name].equal(weight) for name, weight in weights(parts).items())


def test_a_module_that_returns_no_codes_is_told_what_to_return(tmp_path):
    class Other(pl.LightningModule):
        def validation_step(self, batch, batch_idx):
            return torch.zeros(())

    with pytest.raises(TypeError, match=r"a dict with 'hx' and 'hy', got Tensor.*as ebm\.learner\.Learner does"):
        trainer([CollapseAlarm()], tmp_path).validate(Other(), pairs(), verbose=False)


def test_codes_that_are_not_finite_are_warned_of_and_do_not_end_the_run(tmp_path):
    module = learner()
    with torch.no_grad():
        module.F.energy.encoder.weight.fill_(math.nan)
    alarm = CollapseAlarm()
    with pytest.warns(UserWarning, match="codes hold NaN or infinity"):
        trainer([alarm], tmp_path).validate(module, pairs(), verbose=False)
    assert alarm.verdict is None


@pytest.mark.parametrize("arguments", [{"rows": 63}, {"every": 0}, {"patience": 0}])
def test_arguments_that_make_no_sense_are_refused(arguments):
    with pytest.raises(ValueError, match=f"`{next(iter(arguments))}` of at least"):
        CollapseAlarm(**arguments)
