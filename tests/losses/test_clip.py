import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from conftest import Table, normal
from torch import nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader, TensorDataset

from ebm import FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding
from ebm.learner import Learner, Term
from ebm.losses import CLIP, InfoNCE
from ebm.networks import MLP

F = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance()))


def by_paper(hx, hy, log_scale):
    """Figure 3 of the paper: scaled cosines, and the cross-entropy along either axis."""
    logits = normalize(hx, dim=1) @ normalize(hy, dim=1).T * log_scale.exp()
    rows = torch.stack([row.logsumexp(0) - row[i] for i, row in enumerate(logits)])
    columns = torch.stack([column.logsumexp(0) - column[i] for i, column in enumerate(logits.T)])
    return (rows.mean() + columns.mean()) / 2


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_value_and_gradient_are_those_of_the_paper(temperature):
    hx, hy = normal(7, 4).requires_grad_(), normal(7, 4, seed=1).requires_grad_()
    loss = CLIP(temperature).double()
    given = (hx, hy, loss.log_scale)
    value, expected = loss(F, hx, hy), by_paper(*given)
    # Sums of seven exponentials in two orders, over a temperature of 0.07.
    torch.testing.assert_close(value, expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(
        torch.autograd.grad(value, given), torch.autograd.grad(expected, given), atol=1e-9, rtol=1e-9
    )


def test_it_is_the_mean_of_info_nce_from_either_side():
    hx, hy = normal(5, 4), normal(5, 4, seed=1)
    both = (InfoNCE(0.5)(F, hx, hy) + InfoNCE(0.5)(F, hy, hx)) / 2
    # The temperature is held in single precision.
    torch.testing.assert_close(CLIP(0.5)(F, hx, hy), both, atol=0, rtol=1e-6)


def test_rows_and_columns_of_an_energy_that_is_not_symmetric_are_told_apart():
    table = torch.zeros(4, 4, dtype=torch.float64)
    table[:2, 2:] = torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    rows = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2
    columns = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(2))) / 2
    value = CLIP(1.0)(FreeEnergy(Table(table)), *Table(table).codes())
    assert value.item() == pytest.approx((rows + columns) / 2, rel=1e-12)


def test_the_temperature_starts_at_that_of_the_paper_and_is_kept_from_going_below_its_bound():
    loss = CLIP()
    assert loss.log_scale.item() == pytest.approx(math.log(1 / 0.07))
    with torch.no_grad():
        loss.log_scale.fill_(7.0)
    hx, hy = normal(5, 4), normal(5, 4, seed=1)
    value = loss(F, hx, hy)
    value.backward()
    assert loss.log_scale.item() == pytest.approx(math.log(100))
    torch.testing.assert_close(value, by_paper(hx, hy, torch.tensor(math.log(100))), rtol=1e-6, atol=0)
    assert loss.log_scale.grad != 0, "or it could never come back"


@pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")
def test_two_kinds_of_input_learn_which_goes_with_which_and_the_temperature_with_them(tmp_path):
    x = normal(32, 8, dtype=torch.float32)
    y = x @ normal(8, 5, seed=1, dtype=torch.float32)
    energy = JointEmbedding(MLP([8, 32, 16]), distance=CosineDistance(), encoder_y=MLP([5, 32, 16]))
    learner = Learner(energy, {"clip": Term(1, CLIP())}, optimizer=partial(torch.optim.Adam, lr=0.02))
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=60,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(learner, DataLoader(TensorDataset(x, y), 32))
    energies = learner.F.pairs(*energy.encode(x, y))
    found = (energies.argmin(1) == torch.arange(32)).float().mean()
    assert found > 0.9, "by chance it is 1 in 32"
    assert learner.losses["clip"].log_scale.item() > math.log(1 / 0.07) + 0.05
