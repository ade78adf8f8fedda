import pytest
import pytorch_lightning as pl
import torch
from runs import Noise, Stripes, small_run, weights
from torch import nn
from torch.utils.data import TensorDataset

from ebm.callbacks import OnlineProbe
from ebm.data import Source, TwoViews
from ebm.energies import JointEmbedding
from ebm.learner import Learner, Term
from ebm.losses import PushDown
from ebm.networks import MLP
from ebm.regularizers import Covariance, Variance
from ebm.study.store import RunFolder
from ebm.study.training import train


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


class Shades(Source):
    """Dark images and bright ones, which any linear classifier tells apart."""

    def load(self, split):
        labels = torch.arange(40 if split == "train" else 12) % 2
        images = torch.rand(len(labels), 1, 4, 4, generator=torch.Generator().manual_seed(len(labels)))
        return TensorDataset((images + labels[:, None, None, None]) / 2, labels)


def fitted(probe, path, epochs=8, labels=True, source=None):
    torch.manual_seed(0)
    learner = Learner(
        JointEmbedding(MLP([16, 8]), MLP([8, 8])),
        {"invariance": Term(1, PushDown())},
        {"variance": Term(1, Variance()), "covariance": Term(1, Covariance())},
    )
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[probe],
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        default_root_dir=path,
    )
    trainer.fit(learner, datamodule=TwoViews(source or Stripes(), [Noise()], batch_size=8, labels=labels))
    return trainer, learner


def test_it_learns_what_a_linear_classifier_can_read(tmp_path):
    trainer, _ = fitted(OnlineProbe(classes=2), tmp_path, epochs=20, source=Shades())
    assert trainer.callback_metrics["probe/online"] == 1.0


def test_its_accuracy_is_that_of_its_classifier_on_held_out_images(tmp_path):
    probe = OnlineProbe(classes=2, rate=1e-3)
    trainer, learner = fitted(probe, tmp_path, epochs=1)
    images, labels = Stripes().load("test")[:]
    with torch.no_grad():
        expected = (probe.classifier(learner.eval()(images)).argmax(1) == labels).float().mean()
    assert trainer.callback_metrics["probe/online"] == expected


def test_its_first_step_is_that_of_the_cross_entropy_from_zero_at_the_learners_share_of_the_rate(tmp_path):
    """At zero weights every class has probability 1/2, so that the gradient is known without the classifier."""

    class First(OnlineProbe.__mro__[1]):  # a callback that looks on
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 1:
                x, _, labels = batch
                with torch.no_grad():
                    features = pl_module.eval()(x)
                    pl_module.train()
                error = torch.full((len(labels), 2), 0.5) - nn.functional.one_hot(labels, 2)
                group = trainer.optimizers[0].param_groups[0]
                rate = 0.1 * group["lr"] / group["initial_lr"]
                self.expected = -rate * error.T @ features / len(labels)
                self.found = probe.classifier.weight.detach().clone()

    probe, first = OnlineProbe(classes=2), First()
    torch.manual_seed(0)
    learner = Learner(JointEmbedding(MLP([16, 8]), MLP([8, 8])), {"invariance": Term(1, PushDown())}, warmup=0.5)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        callbacks=[probe, first],
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        log_every_n_steps=1,
    )
    trainer.fit(learner, datamodule=TwoViews(Stripes(), [Noise()], batch_size=8, labels=True))
    assert first.expected.abs().max() > 0
    torch.testing.assert_close(first.found, first.expected)


def test_the_learner_is_trained_as_without_it(tmp_path):
    with_probe = fitted(OnlineProbe(classes=2), tmp_path, epochs=2)[1]
    without = fitted(pl.Callback(), tmp_path, epochs=2)[1]
    for a, b in zip(with_probe.parameters(), without.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("after", [3, 7])
def test_a_run_that_was_stopped_goes_on_to_the_same_classifier(tmp_path, after):
    settings = ["--data.init_args.labels=true", "--trainer.callbacks=ebm.callbacks.OnlineProbe"]
    run = small_run(tmp_path, *settings, "--trainer.callbacks.classes=2")
    steps = []

    def stop_once():
        steps.append(1)
        return len(steps) == after

    whole, parts = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "parts")
    train(run, whole, "test", lambda *_: None, lambda: False)
    with pytest.raises(Exception, match="stopped after"):
        train(run, parts, "test", lambda *_: None, stop_once)
    train(run, parts, "test", lambda *_: None, lambda: False)
    classifiers = []
    for folder in (whole, parts):
        saved = torch.load(folder.checkpoint, weights_only=True)["callbacks"]
        (name,) = [name for name in saved if "OnlineProbe" in name]
        classifiers.append(saved[name]["classifier"])
    for name, weight in classifiers[0].items():
        assert torch.equal(weight, classifiers[1][name]), name
    assert weights(whole).keys() == weights(parts).keys()
    assert whole.result()["metrics"]["probe/online"] == parts.result()["metrics"]["probe/online"]


def test_data_without_labels_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match=r"which the data do not give: set data\.labels to true"):
        fitted(OnlineProbe(classes=2), tmp_path, labels=False)


def test_one_class_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match="at least 2 classes apart, not 1"):
        OnlineProbe(classes=1)
