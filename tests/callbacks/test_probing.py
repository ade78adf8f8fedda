import pytest
import torch
from runs import BYOL, Stripes, small_run, weights

from ebm.callbacks.probing import representations
from ebm.data import TwoViews
from ebm.meters import effective_rank, knn_probe, linear_probe, normalized_std
from ebm.study.configuration import build
from ebm.study.store import RunFolder
from ebm.study.training import train


@pytest.fixture(autouse=True)
def _untracked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def learner_and_data(tmp_path):
    parts = build(small_run(tmp_path))
    parts.data.setup("fit")
    return parts.learner.eval(), parts.data


@pytest.mark.parametrize(("split", "count"), [("train", 40), ("test", 12)])
def test_representations_are_those_of_all_images_in_order_without_augmentation(learner_and_data, split, count):
    learner, data = learner_and_data
    features, labels = representations(data, learner, split)
    images, answers = Stripes().load(split)[:]
    assert len(features) == count
    assert not features.requires_grad
    with torch.no_grad():
        # Batches of 8 and of all: sums of 16 products in single precision.
        torch.testing.assert_close(features, learner.F.energy.represent(images), rtol=1e-5, atol=1e-6)
    assert labels.equal(answers)


def test_the_probes_are_fitted_to_training_images_and_scored_on_held_out_ones(tmp_path):
    run, folder = small_run(tmp_path), RunFolder(tmp_path / "run")
    train(run, folder, "test", lambda *_: None, lambda: False)
    learner = build(run).learner.eval()
    learner.load_state_dict(weights(folder))
    data = TwoViews(Stripes(), [], batch_size=8)
    data.setup("fit")
    fitted, scored = (representations(data, learner, split) for split in ("train", "test"))
    metrics = folder.result()["metrics"]
    expected = {
        "probe/linear": linear_probe(fitted, scored),
        "probe/knn": knn_probe(fitted, scored),
        "representation/std": scored[0].std(0, correction=0).mean().item(),
        "representation/normalized_std": normalized_std(scored[0]),
        "representation/effective_rank": effective_rank(scored[0]),
    }
    assert {name: metrics[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_probing_leaves_training_as_it_would_have_been(tmp_path):
    """Validated twice or four times, the weights at the end are the same."""

    def weights_of(every):
        run = small_run(tmp_path, f"--trainer.check_val_every_n_epoch={every}")
        folder = RunFolder(tmp_path / str(every))
        train(run, folder, "test", lambda *_: None, lambda: False)
        return weights(folder)

    assert BYOL["model"]["energy"]["init_args"]["predictor"]["init_args"]["norm"], "batch statistics could be touched"
    torch.testing.assert_close(weights_of(1), weights_of(2), rtol=0, atol=0)
