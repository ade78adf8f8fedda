import math

import pytest
import pytorch_lightning as pl
import torch
from conftest import normal
from torch.utils.data import DataLoader, TensorDataset

from ebm.callbacks import Metering
from ebm.energies import JointEmbedding
from ebm.learner import Learner, Term
from ebm.losses import PushDown
from ebm.meters import energy_gap, rank, spread

# Lightning's advice: that a loader could have workers.
pytestmark = pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")


def validated(callback, tmp_path, rows=10, batch_size=4):
    """The learner, the held-out pairs, and what was logged of them."""
    learner = Learner(JointEmbedding.small(), {"push": Term(1, PushDown())})
    x, y = normal(rows, 8, dtype=torch.float32), normal(rows, 8, seed=1, dtype=torch.float32)
    trainer = pl.Trainer(
        accelerator="cpu",
        callbacks=[callback],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        inference_mode=False,
    )
    (logged,) = trainer.validate(learner, DataLoader(TensorDataset(x, y), batch_size), verbose=False)
    return learner, (x, y), logged


def test_every_number_of_every_meter_is_logged_over_all_held_out_pairs(tmp_path):
    learner, (x, y), logged = validated(Metering(), tmp_path)
    with torch.no_grad():
        hx, hy = learner.eval().F.energy.encode(x, y)
        expected = {
            name: value for meter in (spread, rank, energy_gap) for name, value in meter(learner.F, hx, hy).items()
        }
    # Lightning logs in single precision.
    assert {name: logged[f"code/{name}"] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_a_meter_is_given_the_free_energy_and_the_codes_of_pairs_that_match_in_order(tmp_path):
    given = []

    def meter(F, hx, hy):
        given.append((F, hx, hy))
        return {"rows": float(len(hx))}

    learner, (x, y), logged = validated(Metering([meter]), tmp_path)
    ((F, hx, hy),) = given
    assert F is learner.F
    with torch.no_grad():
        torch.testing.assert_close((hx, hy), learner.eval().F.energy.encode(x, y))
    assert logged["code/rows"] == 10
    assert not any(name.startswith("code/") and name != "code/rows" for name in logged)


def test_codes_of_an_earlier_validation_are_forgotten(tmp_path):
    callback = Metering([lambda F, hx, hy: {"rows": float(len(hx))}])
    for _ in range(2):
        assert validated(callback, tmp_path)[2]["code/rows"] == 10


def test_a_number_that_is_none_is_logged_as_such(tmp_path):
    _, _, logged = validated(Metering([energy_gap]), tmp_path, rows=1)
    assert math.isnan(logged["code/auroc"])
    assert math.isfinite(logged["code/energy_matching"])
