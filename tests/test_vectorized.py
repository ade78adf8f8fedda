from copy import deepcopy
from itertools import cycle

import pytest
import torch
from torch.optim import SGD
from torch.testing import assert_close

from ebm.energies import JointEmbedding, MovingAverage, Predictive
from ebm.learner import Learner, Term, rate
from ebm.losses import NTXent, PushDown
from ebm.networks import MLP
from ebm.optimizers import LARS
from ebm.regularizers import Covariance, SIGReg, Variance
from ebm.vectorized import Vectorized


def vicreg(norm=False, **more):
    energy = JointEmbedding(MLP([6, 16, 8], norm=norm), MLP([8, 4]))
    losses = {"invariance": Term(25.0, PushDown())}
    regularizers = {"variance": Term(25.0, Variance()), "covariance": Term(1.0, Covariance())}
    return Learner(energy, losses, regularizers, **more).double()


def contrastive():
    return Learner(JointEmbedding(MLP([6, 16, 8])), {"nt_xent": Term(1.0, NTXent())}).double()


def batches(count=5, rows=12):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, rows, 6, generator=generator, dtype=torch.float64)
    return list(zip(x, x + 0.1 * torch.randn(x.shape, generator=generator, dtype=torch.float64), strict=True))


def trained_alone(learner, pairs, steps):
    """The learner after steps of its optimiser and schedule, written out."""
    optimizer = learner.optimizer(list(learner.parameters()))
    full = optimizer.param_groups[0]["lr"]
    learner.train()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = full * rate(step, steps, learner.warmup, learner.final_rate)
        optimizer.zero_grad()
        torch.stack(list(learner.terms(*pairs[step % len(pairs)])[0].values())).sum().backward()
        optimizer.step()
    return learner.eval()


WEIGHTS = torch.tensor([0.0, 1.0, 25.0], dtype=torch.float64)


def test_each_of_the_models_ends_where_it_would_if_it_were_trained_alone():
    learner = vicreg(warmup=0.2, optimizer=lambda parameters: SGD(parameters, lr=0.01, momentum=0.9))
    many = Vectorized(learner, {"variance.weight": WEIGHTS, "covariance.weight": WEIGHTS.flip(0)})
    many.train(cycle(batches()), 20)
    x, y = batches()[0]
    codes = many.encode(x, y)
    for i, weight in enumerate(WEIGHTS.tolist()):
        alone = deepcopy(learner)
        alone.weights |= {"variance": weight, "covariance": WEIGHTS.flip(0)[i].item()}
        expected = trained_alone(alone, batches(), 20).F.energy.encode(x, y)
        for ours, theirs in zip(codes, expected, strict=True):
            assert_close(ours[i], theirs, rtol=0, atol=1e-9)  # twenty steps of sums in another order
        assert_close(many.represent(x)[i], alone(x), rtol=0, atol=1e-9)


def test_a_number_that_a_term_keeps_may_vary_as_a_weight_does():
    learner, temperatures = contrastive(), torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    found = Vectorized(learner, {"nt_xent.temperature": temperatures}).losses(*batches()[0])
    for loss, temperature in zip(found, temperatures.tolist(), strict=True):
        learner.losses["nt_xent"].temperature = temperature
        assert_close(loss, learner.terms(*batches()[0])[0]["nt_xent"])


def test_a_model_taken_out_is_a_learner_with_its_weights_and_its_numbers():
    many = Vectorized(vicreg(), {"variance.weight": WEIGHTS})
    many.train(cycle(batches()), 3)
    x, y = batches()[1]
    one = many.model(2)
    assert_close(one.F.energy.encode(x, y)[0], many.encode(x, y)[0][2])
    assert one.weights == {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}
    assert_close(torch.stack(list(one.terms(x, y)[0].values())).sum(), many.losses(x, y)[2])


def test_the_learner_that_it_was_made_of_stays_as_it_was():
    learner = vicreg()
    before, weights = deepcopy(learner.state_dict()), dict(learner.weights)
    Vectorized(learner, {"variance.weight": WEIGHTS}).train(cycle(batches()), 3)
    assert learner.weights == weights
    assert_close(learner.state_dict(), before)


def test_a_model_that_diverges_costs_the_others_nothing():
    learner = vicreg()
    healthy = Vectorized(learner, {"variance.weight": WEIGHTS})
    sick = Vectorized(learner, {"variance.weight": torch.cat([WEIGHTS, torch.tensor([float("inf")])])})
    expected, found = (many.train(cycle(batches()), 5) for many in (healthy, sick))
    assert_close(found[:, :3], expected)
    assert not found[-1, 3].isfinite()


def test_batch_normalisation_keeps_the_statistics_of_each_model():
    learner = vicreg(norm=True)
    many = Vectorized(learner, {"variance.weight": WEIGHTS})
    many.train(cycle(batches()), 5)
    for i, weight in enumerate(WEIGHTS.tolist()):
        alone = deepcopy(learner)
        alone.weights["variance"] = weight
        trained_alone(alone, batches(), 5)
        for name, expected in alone.named_buffers():
            assert_close(many.buffers[f"learner.{name}"][i], expected, rtol=0, atol=1e-9)  # as above


def test_what_is_frozen_stays_as_it_is():
    learner = vicreg()
    learner.F.energy.encoder.requires_grad_(False)
    many = Vectorized(learner, {"variance.weight": WEIGHTS})
    many.train(cycle(batches()), 3)
    assert_close(many.represent(batches()[0][0]), learner(batches()[0][0]).expand(3, -1, -1))
    assert (many.encode(*batches()[0])[0] != learner.F.energy.encode(*batches()[0])[0]).any()


def test_random_directions_are_the_same_for_all_models():
    learner = Learner(JointEmbedding(MLP([6, 4])), {}, {"sigreg": Term(1.0, SIGReg(8))}).double()
    found = Vectorized(learner, {"sigreg.weight": torch.ones(3)}).losses(*batches()[0])
    assert_close(found, found[:1].expand(3))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "there is nothing to vary"),
        ({"variances.weight": WEIGHTS}, r"variances.weight is no number of a term: name one of .*variance.weight"),
        ({"variance.targets": WEIGHTS}, r"variance.targets is no number .*variance.target"),
        ({"variance.weight": WEIGHTS, "covariance.weight": WEIGHTS[:2]}, r"one number for each model"),
        ({"variance.weight": WEIGHTS[None]}, r"one number for each model"),
    ],
)
def test_settings_that_name_nothing_or_do_not_match_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        Vectorized(vicreg(), settings)


def test_an_energy_that_moves_an_average_is_refused():
    energy = Predictive(MLP([6, 4]), MLP([4, 4]), MLP([4, 4]), target=MovingAverage)
    with pytest.raises(ValueError, match="Predictive does something after each step"):
        Vectorized(Learner(energy, {"push_down": Term(1.0, PushDown())}), {"push_down.weight": WEIGHTS})


def test_an_optimiser_that_would_mix_the_models_is_refused():
    learner = vicreg(optimizer=lambda parameters: LARS(parameters, lr=0.1))
    with pytest.raises(ValueError, match="LARS may look at more than one number"):
        Vectorized(learner, {"variance.weight": WEIGHTS}).train(cycle(batches()), 1)
