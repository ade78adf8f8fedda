import copy
import inspect
import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from conftest import normal
from pytorch_lightning.loggers.logger import DummyLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ebm import Ball, Energy, FreeEnergy, Implicit, Variational
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding, LatentDecoder, MovingAverage, Predictive
from ebm.learner import Learner, Term
from ebm.losses import InfoNCE, PushDown, Supervised, SupervisedContrastive
from ebm.networks import MLP
from ebm.regularizers import Covariance, Variance

# Lightning's advice: that there is no validation, that a loader could have workers.
pytestmark = pytest.mark.filterwarnings("ignore::lightning_fabric.utilities.warnings.PossibleUserWarning")

SGD = partial(torch.optim.SGD, lr=0.1)


class Recorded(DummyLogger):
    """What was logged, by step."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def log_metrics(self, metrics, step=None):
        self.rows.append({"step": step, **metrics})

    def column(self, name):
        return [row[name] for row in self.rows if name in row]


class Watched(pl.Callback):
    """The rate of each update, and the weights after each batch."""

    def __init__(self):
        self.rates, self.weights = [], []

    def on_before_optimizer_step(self, trainer, *args):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.weights.append(copy.deepcopy(pl_module.state_dict()))


def pairs(rows=24, batch_size=6, dtype=torch.float32):
    x, y = normal(rows, 8, dtype=dtype), normal(rows, 8, seed=1, dtype=dtype)
    return DataLoader(TensorDataset(x, y), batch_size)


def trained(learner, tmp_path, data=None, **settings):
    """The learner, trained; what was logged; what was seen."""
    logger, watched = Recorded(), Watched()
    given = {"accelerator": "cpu", "max_epochs": 1, "log_every_n_steps": 1} | settings
    trainer = pl.Trainer(
        **given,
        logger=logger,
        callbacks=[watched],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(learner, data or pairs())
    return learner, logger, watched


def vicreg(**settings):
    losses = {"invariance": Term(25, PushDown())}
    regularizers = {"variance": Term(15, Variance()), "covariance": Term(2, Covariance())}
    return Learner(JointEmbedding.small(), losses, regularizers, optimizer=SGD, **settings)


def byol(**settings):
    energy = Predictive(MLP([8, 6]), MLP([6, 4]), MLP([4, 4]), partial(MovingAverage, base=0.9))
    return Learner(energy, {"push": Term(2, PushDown())}, optimizer=SGD, symmetric=True, **settings)


def test_the_total_is_the_weighted_sum_of_terms_each_logged_weighted_under_its_name(tmp_path):
    learner = vicreg()
    x, y = next(iter(pairs()))
    hx, hy = learner.F.energy.encode(x, y)
    by_hand = {
        "invariance": 25 * (hx - hy).square().mean(-1).mean(),
        "variance": 15 * sum((1 - (h.var(0) + 1e-4).sqrt()).relu().mean() for h in (hx, hy)) / 2,
        "covariance": 2 * sum((h.T.cov().square().sum() - h.T.cov().diagonal().square().sum()) / 4 for h in (hx, hy)),
    }
    _, logger, _ = trained(learner, tmp_path, max_steps=1)
    for name, value in by_hand.items():
        # Sums of 24 products in single precision.
        assert logger.column(f"loss/{name}") == pytest.approx([value.item()], rel=1e-5)
    assert logger.column("loss/total") == pytest.approx([sum(by_hand.values()).item()], rel=1e-5)


def test_what_is_minimised_is_the_total(tmp_path):
    learner = vicreg()
    before = copy.deepcopy(learner)
    x, y = next(iter(pairs()))
    hx, hy = before.F.energy.encode(x, y)
    total = 25 * PushDown()(before.F, hx, hy) + 15 * Variance()(hx, hy) + 2 * Covariance()(hx, hy)
    gradients = torch.autograd.grad(total, list(before.parameters()))
    trained(learner, tmp_path, max_steps=1, max_epochs=None)
    for weight, start, gradient in zip(learner.parameters(), before.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight, start - 0.1 * gradient)


def test_the_norm_of_the_gradient_and_the_spread_of_the_codes_of_y_are_logged(tmp_path):
    learner = vicreg()
    before = copy.deepcopy(learner)
    hx, hy = before.F.energy.encode(*next(iter(pairs())))
    total = 25 * PushDown()(before.F, hx, hy) + 15 * Variance()(hx, hy) + 2 * Covariance()(hx, hy)
    gradients = torch.autograd.grad(total, list(before.parameters()))
    norm = math.sqrt(sum(gradient.square().sum().item() for gradient in gradients))
    _, logger, _ = trained(learner, tmp_path, max_steps=1)
    assert logger.column("train/gradient_norm") == pytest.approx([norm], rel=1e-5)
    assert logger.column("train/std") == pytest.approx([hy.std(0, correction=0).mean().item()], rel=1e-5)


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_row_is_logged_at_every_so_many_steps_and_numbered_by_the_updates_before_it(tmp_path, every):
    _, logger, _ = trained(vicreg(), tmp_path, max_epochs=2, log_every_n_steps=every)
    steps = [row["step"] for row in logger.rows if "loss/total" in row]
    assert steps == list(range(every - 1, 8, every))


def test_without_regularizers_or_without_losses_there_is_still_something_to_minimise(tmp_path):
    for terms in ({"losses": {"a": Term(3, PushDown())}}, {"regularizers": {"a": Term(3, Variance())}}):
        _, logger, _ = trained(Learner(JointEmbedding.small(), **terms), tmp_path, max_steps=1)
        assert logger.column("loss/a") == logger.column("loss/total")


def test_symmetric_takes_each_pair_both_ways_and_averages(tmp_path):
    learner = byol()
    energy = copy.deepcopy(learner.F.energy)
    x, y = next(iter(pairs()))
    there, back = (energy(*pair).mean().item() for pair in ((x, y), (y, x)))
    assert there != pytest.approx(back, rel=1e-3)
    _, logger, _ = trained(learner, tmp_path, max_steps=1)
    assert logger.column("loss/push") == pytest.approx([2 * (there + back) / 2], rel=1e-5)


def test_without_symmetric_only_the_way_from_x_to_y_is_taken(tmp_path):
    learner = byol()
    learner.symmetric = False
    there = learner.F.energy(*next(iter(pairs()))).mean().item()
    _, logger, _ = trained(learner, tmp_path, max_steps=1)
    assert logger.column("loss/push") == pytest.approx([2 * there], rel=1e-5)


@pytest.mark.parametrize("warmup", [0.0, 0.125, 0.5, 1.0])
@pytest.mark.parametrize("final_rate", [0.0, 0.1, 1.0])
def test_the_rate_rises_linearly_over_the_warm_up_and_then_falls_along_a_cosine(tmp_path, warmup, final_rate):
    _, _, watched = trained(vicreg(warmup=warmup, final_rate=final_rate), tmp_path, max_epochs=4)
    rising = round(16 * warmup)
    shares = [(step + 1) / rising for step in range(rising)]
    shares += [
        final_rate + (1 - final_rate) * (1 + math.cos(math.pi * step / (16 - rising))) / 2
        for step in range(16 - rising)
    ]
    assert watched.rates == pytest.approx([0.1 * share for share in shares])


def test_the_rate_of_the_schedule_counts_updates_and_not_batches(tmp_path):
    _, _, watched = trained(vicreg(), tmp_path, max_epochs=2, accumulate_grad_batches=2)
    expected = [0.1 * (1 + math.cos(math.pi * update / 4)) / 2 for update in range(4)]
    assert watched.rates == pytest.approx(expected)


def test_training_without_an_end_keeps_the_rate(tmp_path):
    learner = vicreg()
    stop = pl.callbacks.LambdaCallback(
        on_train_batch_end=lambda trainer, *_: setattr(trainer, "should_stop", trainer.global_step >= 5)
    )
    logger, watched = Recorded(), Watched()
    trainer = pl.Trainer(
        max_epochs=-1,
        accelerator="cpu",
        logger=logger,
        callbacks=[stop, watched],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(learner, pairs())
    assert watched.rates == pytest.approx([0.1] * len(watched.rates))
    assert len(watched.rates) >= 5


class Counting(Energy):
    """Keeps the share of training that it is told is done."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.told, self.weights = [], []

    def cost(self, hx, hy, z=None):
        return self.weight * (hx - hy).square().sum(-1)

    def after_step(self, progress):
        self.told.append(progress)
        self.weights.append(self.weight.item())


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_the_energy_is_told_once_after_each_update_how_much_of_training_is_done(tmp_path, batches):
    energy = Counting()
    learner = Learner(energy, {"push": Term(1, PushDown())}, optimizer=SGD)
    trained(learner, tmp_path, max_epochs=2, accumulate_grad_batches=batches)
    updates = 8 // batches
    assert len(energy.told) == updates
    assert energy.told == pytest.approx([step / updates for step in range(updates)])
    assert len(set(energy.weights)) == updates, "it is told after the weights have moved"
    assert energy.weights[-1] == learner.F.energy.weight.item()


@pytest.mark.parametrize("batches", [1, 2])
def test_the_target_of_byol_follows_the_branch_once_an_update_by_the_papers_schedule(tmp_path, batches):
    learner = byol()
    start = copy.deepcopy(learner.F.energy.target.branch)
    _, _, watched = trained(learner, tmp_path, max_epochs=2, accumulate_grad_batches=batches)
    updates = 8 // batches
    after_updates = watched.weights[batches - 1 :: batches]
    for name, target in start.named_parameters():
        for step, weights in enumerate(after_updates):
            tau = 1 - (1 - 0.9) * (math.cos(math.pi * step / updates) + 1) / 2
            target = tau * target + (1 - tau) * weights[f"F.energy.branch.{name}"]
            torch.testing.assert_close(weights[f"F.energy.target.branch.{name}"], target)


def test_no_derivative_reaches_the_target_of_byol_and_the_optimiser_does_not_hold_it(tmp_path):
    learner = byol()
    learner.F.energy.target.base = 1.0  # it does not follow
    start = copy.deepcopy(learner.F.energy.target.state_dict())
    trained(learner, tmp_path, max_epochs=2)
    torch.testing.assert_close(learner.F.energy.target.state_dict(), start, rtol=0, atol=0)


# SparseAdam takes sparse gradients alone and Muon matrices alone, which the weights of a network are not.
OPTIMIZERS = [
    cls
    for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and name not in ("Optimizer", "SparseAdam", "Muon")
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_any_optimiser_of_torch_brings_the_energy_down(tmp_path, optimizer):
    learner = Learner(JointEmbedding.small(), {"push": Term(1, PushDown())}, optimizer=partial(optimizer, lr=1e-3))
    _, logger, _ = trained(learner, tmp_path, max_epochs=8)
    first, last = (sum(logger.column("loss/total")[part]) for part in (slice(4), slice(-4, None)))
    assert last < first


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_seed_others(tmp_path):
    def weights(seed):
        torch.manual_seed(seed)
        return trained(byol(), tmp_path)[0].state_dict()

    torch.testing.assert_close(weights(1), weights(1), rtol=0, atol=0)
    assert not any(a.equal(b) for a, b in zip(weights(1).values(), weights(2).values(), strict=True))


def test_a_learner_without_a_term_is_refused():
    with pytest.raises(ValueError, match="nothing to minimise: give at least one term under `losses` or `regulariz"):
        Learner(JointEmbedding.small())


def test_a_loss_and_a_regularizer_of_one_name_are_refused():
    with pytest.raises(ValueError, match="both named spread"):
        Learner(JointEmbedding.small(), {"spread": Term(1, PushDown())}, {"spread": Term(1, Variance())})


def test_a_name_that_a_log_entry_has_already_is_refused():
    with pytest.raises(ValueError, match="total"):
        Learner(JointEmbedding.small(), {"total": Term(1, PushDown())})


@pytest.mark.parametrize("view", [0, 1])
def test_codes_that_are_not_numbers_end_training_with_the_name_of_the_term_and_where_they_came_from(tmp_path, view):
    tensors = [normal(6, 8, dtype=torch.float32), normal(6, 8, seed=1, dtype=torch.float32)]
    tensors[view][2, 3] = torch.nan
    counts = ["0 codes of x and 1 of y", "1 codes of x and 0 of y"][1 - view]
    message = rf"at step 0 the term invariance and variance and covariance is not finite; of 6 samples {counts} hold"
    with pytest.raises(FloatingPointError, match=message):
        trained(vicreg(), tmp_path, DataLoader(TensorDataset(*tensors), 6))


class Broken(nn.Module):
    def forward(self, F, hx, hy):
        return F(hx, hy).mean() * torch.inf


def test_a_term_that_overflows_by_itself_is_named_alone(tmp_path):
    learner = Learner(JointEmbedding.small(), {"good": Term(1, PushDown()), "bad": Term(1, Broken())})
    with pytest.raises(FloatingPointError, match="the term bad is not finite; of 6 samples all codes are finite"):
        trained(learner, tmp_path)


def test_a_rate_that_is_too_high_ends_training_and_does_not_go_on_with_what_is_no_number(tmp_path):
    learner = vicreg()
    learner.optimizer = partial(torch.optim.SGD, lr=1e30)
    with pytest.raises(FloatingPointError, match="lower the optimiser's rate"):
        trained(learner, tmp_path, log_every_n_steps=50)


def test_a_batch_of_one_is_refused_where_batches_are_normalised_and_trained_where_not(tmp_path):
    def learner(norm):
        return Learner(JointEmbedding(MLP([8, 4, 4], norm=norm)), {"push": Term(1, PushDown())})

    with pytest.raises(ValueError, match=r"batch normalisation needs at least 2 samples.*a batch of 1"):
        trained(learner(norm=True), tmp_path, pairs(batch_size=1))
    trained(learner(norm=False), tmp_path, pairs(batch_size=1))


@pytest.mark.parametrize("make", [vicreg, byol], ids=["vicreg", "byol"])
def test_half_precision_trains_to_finite_weights_near_those_of_single_precision(tmp_path, make):
    learner = make()
    half, logger, _ = trained(copy.deepcopy(learner), tmp_path, precision="bf16-mixed")
    single, by_single, _ = trained(learner, tmp_path)
    # bfloat16 has 8 bits: each number is good to 1 in 256, and terms are sums of differences of such.
    assert logger.column("loss/total") == pytest.approx(by_single.column("loss/total"), rel=0.1)
    for a, b in zip(half.parameters(), single.parameters(), strict=True):
        assert a.dtype == torch.float32
        assert a.isfinite().all()
        torch.testing.assert_close(a, b, rtol=0.1, atol=0.1)


def test_double_precision_trains_in_double_precision(tmp_path):
    learner, _, _ = trained(vicreg(), tmp_path, pairs(dtype=torch.float64), precision="64-true")
    assert all(weight.dtype == torch.float64 for weight in learner.parameters())


def test_compile_compiles_the_networks_once_and_runs_what_it_compiled(tmp_path, monkeypatch):
    calls = []

    def compiled(fn):
        def run(*args):
            calls.append(fn)
            return fn(*args)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    learner = vicreg(compile=True)
    trained(learner, tmp_path, max_steps=3)
    assert calls == [learner.F.energy.encode] * 3


@pytest.mark.slow
def test_compiled_networks_train_to_the_same_weights(tmp_path, monkeypatch):
    plain = vicreg()
    torch.manual_seed(0)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch.testing.assert_close(
        trained(vicreg(compile=True), tmp_path)[0].state_dict(), trained(plain, tmp_path)[0].state_dict()
    )


def test_compiling_changes_no_name_of_a_weight(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda fn: fn)
    assert vicreg(compile=True).state_dict().keys() == vicreg().state_dict().keys()


def test_an_energy_with_a_latent_trains(tmp_path):
    learner = Learner(
        LatentDecoder.small(), {"push": Term(1, PushDown())}, optimizer=partial(torch.optim.Adam, lr=0.01)
    )
    _, logger, _ = trained(learner, tmp_path, max_epochs=10)
    first, last = (sum(logger.column("loss/total")[part]) for part in (slice(4), slice(-4, None)))
    assert last < 0.9 * first


def test_the_representation_is_the_encoders_and_not_the_projectors():
    learner = vicreg()
    x = normal(3, 8, dtype=torch.float32)
    torch.testing.assert_close(learner(x), learner.F.energy.encoder(x))


def test_losses_with_weights_of_their_own_are_trained_too(tmp_path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, F, hx, hy):
            return self.scale * F(hx, hy).mean()

    learner, _, _ = trained(Learner(JointEmbedding.small(), {"scaled": Term(1, Scaled())}, optimizer=SGD), tmp_path)
    assert learner.losses["scaled"].scale.item() < 1


class Told(Supervised):
    """Keeps the labels that it is given."""

    def __init__(self):
        super().__init__()
        self.labels = []

    def forward(self, F, hx, hy, labels=None):
        self.labels.append(labels)
        return F(hx, hy).mean()


def labelled_pairs(rows=24, batch_size=6):
    return DataLoader(TensorDataset(*pairs(rows).dataset.tensors, torch.arange(rows) % 3), batch_size)


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_supervised_loss_is_given_the_labels_and_the_others_are_as_without(tmp_path, symmetric):
    torch.manual_seed(1)
    with_, without = ({"told": Term(0, Told()), "push": Term(1, PushDown())}, {"push": Term(1, PushDown())})
    learner, other = (
        Learner(JointEmbedding.small(), terms, optimizer=SGD, symmetric=symmetric) for terms in (with_, without)
    )
    other.F.load_state_dict(learner.F.state_dict())
    trained(learner, tmp_path, labelled_pairs(), max_steps=2)
    trained(other, tmp_path, labelled_pairs(), max_steps=2)
    calls = 2 if symmetric else 1
    assert torch.equal(
        torch.stack(learner.losses["told"].labels),
        (torch.arange(12) % 3).view(2, 1, 6).expand(2, calls, 6).flatten(0, 1),
    )
    torch.testing.assert_close(learner.F.state_dict(), other.F.state_dict(), rtol=0, atol=0)


def test_a_supervised_loss_without_labels_is_refused_with_how_to_get_them(tmp_path):
    learner = Learner(JointEmbedding.small(), {"supcon": Term(1, SupervisedContrastive())})
    with pytest.raises(ValueError, match=r"the loss supcon needs labels, .* `TwoViews` does with data.labels=true"):
        trained(learner, tmp_path)


def test_labelled_pairs_are_validated_as_others_are(tmp_path):
    learner = Learner(JointEmbedding.small(), {"supcon": Term(1, SupervisedContrastive())})
    hx, hy = learner.F.energy.encode(*pairs().dataset.tensors)
    output = learner.validation_step(labelled_pairs().dataset.tensors, 0)
    assert torch.equal(output["hx"], hx)
    assert torch.equal(output["hy"], hy)


def test_a_contrastive_loss_learns_which_y_goes_with_x(tmp_path):
    x = normal(32, 8, dtype=torch.float32)
    energy = JointEmbedding(MLP([8, 32, 16]), distance=CosineDistance())
    learner = Learner(energy, {"nce": Term(1, InfoNCE())}, optimizer=partial(torch.optim.Adam, lr=0.01))
    data = DataLoader(TensorDataset(x, x + 0.1 * normal(32, 8, seed=2, dtype=torch.float32)), 32)
    _, logger, _ = trained(learner, tmp_path, data, max_epochs=40)
    assert logger.column("loss/nce")[0] > 2 * logger.column("loss/nce")[-1]


def test_how_a_latent_is_inferred_is_up_to_the_arguments_of_a_free_energy():
    energy = LatentDecoder.small()
    arguments = {"within": Ball(1.0), "restarts": 3, "adjoint": Implicit()}
    learner = Learner(energy, {"push": Term(1.0, PushDown())}, **arguments)
    expected = FreeEnergy(energy, **arguments)
    y = normal(4, 8, dtype=torch.float32)
    assert torch.equal(learner.F(y, y), expected(y, y))
    assert torch.linalg.vector_norm(learner.F.infer(y, y).z, dim=-1).max() <= 1.0
    noisy = Learner(energy, {"push": Term(1.0, PushDown())}, marginal=Variational(beta=2.0))
    assert torch.equal(noisy.F(y, y), FreeEnergy(energy, marginal=Variational(beta=2.0))(y, y))
