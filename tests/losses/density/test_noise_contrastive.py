import math

import pytest
import torch
from bowls import TRUTH, Bowl, Quadratic, data, symmetric
from conftest import normal
from torch.distributions import Independent, MultivariateNormal, Normal, Uniform

from ebm import FreeEnergy
from ebm.learner import Learner, Term
from ebm.losses import NoiseContrastive


def trained(loss, energy, y, seed=0):
    """Curvature and log-normaliser at the minimum, the noise held still."""
    optimizer = torch.optim.LBFGS(
        [energy.k, loss.log_normaliser], max_iter=100, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        torch.manual_seed(seed + 1000)  # not the numbers that the data are made of
        value = loss(FreeEnergy(energy), None, y)
        value.backward()
        return value

    optimizer.step(closure)
    return torch.stack([energy.k, loss.log_normaliser]).detach()


@pytest.mark.parametrize("ratio", [1, 3])
def test_it_is_the_formula_of_the_paper_for_the_noise_that_was_drawn(ratio):
    a, y, c = symmetric(2), normal(4, 2), 0.4
    noise = MultivariateNormal(torch.tensor([0.5, -0.2]).double(), symmetric(2, seed=8))
    loss, energy = NoiseContrastive(noise, ratio).double(), Quadratic(a)
    loss.log_normaliser.data.fill_(c)
    torch.manual_seed(3)
    value = loss(FreeEnergy(energy), None, y)
    torch.manual_seed(3)
    drawn = noise.sample((ratio, 4))

    def log_odds(row, matrix, c):
        model = -row @ matrix * row / 2
        return model.sum() - c - noise.log_prob(row) - math.log(ratio)

    matrix, constant = a.clone().requires_grad_(), torch.tensor(c, dtype=torch.float64, requires_grad=True)
    total = 0.0
    for i in range(4):
        total = total - torch.log(1 / (1 + torch.exp(-log_odds(y[i], matrix, constant))))
        for m in range(ratio):
            total = total - torch.log(1 - 1 / (1 + torch.exp(-log_odds(drawn[m, i], matrix, constant))))
    torch.testing.assert_close(value, total / 4, rtol=1e-10, atol=1e-10)
    found = torch.autograd.grad(value, (energy.matrix, loss.log_normaliser))
    torch.testing.assert_close(found, torch.autograd.grad(total / 4, (matrix, constant)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("features", [2, 8])
def test_the_fit_has_the_curvature_and_the_log_normaliser_of_the_truth(features):
    found = [
        trained(NoiseContrastive(ratio=4).double(), Bowl(1.0), data(2000, features, seed=seed), seed)
        for seed in range(10)
    ]
    both = torch.stack(found)
    truth = torch.tensor([TRUTH, features / 2 * math.log(2 * math.pi / TRUTH)], dtype=torch.float64)
    error = both.std(0) / math.sqrt(10)
    assert ((both.mean(0) - truth).abs() < 5 * error).all()
    assert (error < 0.02 * truth).all()


def test_noise_of_its_own_is_that_of_the_first_batch_and_stays():
    loss, F = NoiseContrastive(), FreeEnergy(Bowl())
    first = normal(50, 3) * torch.tensor([1.0, 5.0, 0.1]) + torch.tensor([0.0, 100.0, 3.0])
    loss(F, None, first)
    loss(F, None, normal(50, 3, seed=1))
    torch.testing.assert_close(loss.mean, first.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(loss.std, first.std(0), rtol=1e-12, atol=1e-12)


def test_its_noise_and_its_normaliser_come_back_from_a_checkpoint():
    loss, F, y = NoiseContrastive(), FreeEnergy(Bowl()), normal(20, 3)
    loss(F, None, y)
    loss.log_normaliser.data.fill_(2.5)
    again = NoiseContrastive()
    assert not any(again.load_state_dict(loss.state_dict()))
    values = []
    for one in (loss, again):
        torch.manual_seed(0)
        values.append(one(F, None, y[:5]))
    assert torch.equal(*values)


def test_a_learner_optimises_the_log_normaliser():
    loss = NoiseContrastive()
    learner = Learner(Bowl(), losses={"nce": Term(1.0, loss)})
    (group,) = learner.configure_optimizers().param_groups
    assert any(parameter is loss.log_normaliser for parameter in group["params"])


@pytest.mark.parametrize(
    "noise", [Normal(torch.zeros(3), torch.ones(3)), Independent(Normal(torch.zeros(3), torch.ones(3)), 1)]
)
def test_a_density_of_features_and_one_of_samples_are_the_same_noise(noise):
    torch.manual_seed(0)
    value = NoiseContrastive(noise)(FreeEnergy(Bowl()), None, normal(5, 3))
    torch.manual_seed(0)
    other = NoiseContrastive(MultivariateNormal(torch.zeros(3), torch.eye(3)))(FreeEnergy(Bowl()), None, normal(5, 3))
    torch.testing.assert_close(value, other, rtol=1e-6, atol=1e-6)  # the noise is in single precision


def test_noise_of_another_shape_is_refused_with_both_shapes():
    with pytest.raises(ValueError, match=r"of the shape of the data, \(3,\), but is of \(2,\): give a distribution"):
        NoiseContrastive(Uniform(torch.zeros(2), torch.ones(2)))(FreeEnergy(Bowl()), None, normal(5, 3))


def test_a_feature_that_does_not_vary_is_refused_for_noise_that_is_fitted():
    y = torch.cat([normal(5, 2), torch.ones(5, 1)], 1)
    with pytest.raises(ValueError, match=r"1 of 3 features .* or give `noise`"):
        NoiseContrastive()(FreeEnergy(Bowl()), None, y)
