import math

import pytest
import torch
from conftest import normal
from torch import nn

from ebm import L1, L2, Enumerated, Enumeration, FreeEnergy, GradientDescent, ProximalLBFGS, Unrolled
from ebm.energies import Frozen, LatentPredictive, MovingAverage, OfLatent, SharedBranch, StopGradient
from ebm.losses import PushDown
from ebm.networks import MLP, GaussianChannel
from ebm.regularizers import GaussianInformation


def pairs(n=6):
    return normal(n, 8), normal(n, 8, seed=1)


def model(latents=3, target=StopGradient, **arguments):
    return LatentPredictive(MLP([8, 6]), nn.Linear(6 + latents, 6), latents, target, **arguments).double()


def gradients(energy, x, y, **arguments):
    PushDown()(FreeEnergy(energy, **arguments), *energy.encode(x, y)).backward()
    return {name: weight.grad for name, weight in energy.named_parameters()}


def test_it_is_the_squared_distance_of_the_prediction_from_the_code_of_y():
    energy = model()
    x, y = pairs()
    z = normal(6, 3, seed=2)
    prediction = energy.prediction.decoder(torch.cat([energy.context(x), z], 1))
    expected = (prediction - energy.context(y)).square().sum(1)
    torch.testing.assert_close(energy(x, y, z), expected)  # the same sums


def test_without_a_latent_the_best_prediction_of_two_futures_is_their_mean():
    identity = nn.Identity()
    energy = LatentPredictive(identity, nn.Linear(1, 1, bias=False).double(), 0)
    x, y = torch.ones(2, 1, dtype=torch.float64), torch.tensor([[-1.0], [3.0]], dtype=torch.float64)
    (weight,) = energy.prediction.decoder.parameters()
    solver = torch.optim.LBFGS([weight], line_search_fn="strong_wolfe")

    def loss():
        solver.zero_grad()
        value = PushDown()(FreeEnergy(energy), *energy.encode(x, y))
        value.backward()
        return value

    solver.step(loss)
    # A quadratic, minimised to the default tolerance of 1e-7.
    assert float(weight.detach()) == pytest.approx(1.0, abs=1e-6)
    mean = FreeEnergy(energy)(x[:1], y.mean(0, keepdim=True))
    assert mean < FreeEnergy(energy)(x, y).min()


def test_a_latent_of_two_values_has_each_future_at_no_energy_and_their_mean_above():
    energy = LatentPredictive(nn.Identity(), nn.Linear(3, 1, bias=False).double(), 2)
    with torch.no_grad():
        energy.prediction.decoder.weight.copy_(torch.tensor([[0.0, -1.0, 3.0]]))
    x, y = torch.ones(3, 1, dtype=torch.float64), torch.tensor([[-1.0], [3.0], [1.0]], dtype=torch.float64)
    found = FreeEnergy(energy, Enumeration(torch.eye(2, dtype=torch.float64))).infer(x, y)
    assert torch.equal(found.energy, torch.tensor([0.0, 0.0, 4.0], dtype=torch.float64))
    assert found.z[:2].argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("beta", [0.3, 30.0, math.inf])
def test_at_a_temperature_it_is_the_mean_over_the_values_of_the_latent_and_at_none_the_least(beta):
    energy, values = model(4), torch.eye(4, dtype=torch.float64)
    x, y = pairs()
    hx, hy = energy.encode(x, y)
    energies = torch.stack([energy.cost(hx, hy, value.expand(6, 4)) for value in values])
    expected = energies.amin(0) if beta == math.inf else -(-beta * energies).exp().mean(0).log() / beta
    torch.testing.assert_close(FreeEnergy(energy, marginal=Enumerated(beta, values))(hx, hy), expected)


def test_the_penalty_of_a_linear_predictor_leaves_the_latent_of_ridge_regression():
    energy = model(2)
    hx, hy = (h.detach() for h in energy.encode(*pairs()))
    weights = energy.prediction.decoder.weight.detach()
    from_x, from_z = weights.split([6, 2], 1)
    left = hy - hx @ from_x.T - energy.prediction.decoder.bias.detach()
    expected = torch.linalg.solve(2 * from_z.T @ from_z + 0.7 * torch.eye(2), 2 * from_z.T @ left.T).T
    found = FreeEnergy(energy, ProximalLBFGS(tolerance=1e-9), penalty=L2(0.7))._infer(hx, hy).z
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)  # solved to 1e-9


def test_a_strong_sparse_penalty_leaves_no_latent():
    energy = model()
    hx, hy = energy.encode(*pairs())
    none = energy.cost(hx, hy, torch.zeros(6, 3, dtype=torch.float64))
    torch.testing.assert_close(FreeEnergy(energy, penalty=L1(1e3))(hx, hy), none)


TARGETS = {
    "stop gradient": StopGradient,
    "moving average": MovingAverage,
    "frozen": lambda branch: Frozen(branch, MLP([8, 6])),
    "as drawn": Frozen,
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_no_derivative_reaches_the_target(target):
    energy = model(0, target)
    x, y = pairs()
    found = gradients(energy, x, y)
    assert all(gradient is None for name, gradient in found.items() if name.startswith("target"))
    assert all(gradient.any() for name, gradient in found.items() if not name.startswith("target"))
    assert not energy.encode(x, y)[1].requires_grad


def test_a_shared_branch_is_reached_through_y_too():
    x, y = pairs()
    torch.manual_seed(0)
    shared = gradients(model(0, SharedBranch), x, y)
    torch.manual_seed(0)
    stopped = gradients(model(0, StopGradient), x, y)
    assert torch.equal(shared["prediction.decoder.weight"], stopped["prediction.decoder.weight"])
    assert not torch.allclose(shared["context.layers.0.weight"], stopped["context.layers.0.weight"])


def test_a_frozen_target_is_a_copy_that_nothing_moves():
    encoder = MLP([8, 6]).double()
    energy = model(0, lambda branch: Frozen(branch, encoder))
    _, y = pairs()
    before = energy.encode(y, y)[1]
    with torch.no_grad():
        for weight in [*encoder.parameters(), *energy.context.parameters()]:
            weight.add_(1)
    energy.after_step(0.5)
    assert torch.equal(energy.encode(y, y)[1], before)


def test_the_moving_average_follows_the_context():
    energy = model(0, lambda branch: MovingAverage(branch, base=0.0))
    with torch.no_grad():
        energy.context.layers[0].weight.add_(1)
    energy.after_step(0.0)
    assert torch.equal(energy.target.branch.layers[0].weight, energy.context.layers[0].weight)


def test_what_an_amortised_latent_tells_is_a_term_like_that_of_an_autoencoder():
    energy = model(3, latent_encoder=MLP([12, 6]), channel=GaussianChannel())
    x, y = pairs()
    hx, hy = energy.encode(x, y)
    F = FreeEnergy(energy, GradientDescent(steps=0), Unrolled())
    found = OfLatent(GaussianInformation())(F, hx, hy)
    torch.testing.assert_close(found, GaussianInformation()(energy.predict(hx, hy)))
    found.backward()
    assert all(weight.grad.any() for weight in energy.prediction.encoder.parameters())
    assert not torch.equal(F(hx, hy), F(hx, hy))  # noisy in training
    energy.eval()
    torch.testing.assert_close(F(hx, hy), energy.cost(hx, hy, energy.predict(hx, hy)[:, :3]))


def test_what_is_kept_is_the_code_of_the_context():
    energy = model()
    x, _ = pairs()
    assert torch.equal(energy.represent(x), energy.context(x))


def test_a_latent_that_is_not_given_is_asked_for():
    with pytest.raises(ValueError, match="needs z"):
        model()(*pairs())
    with pytest.raises(ValueError, match="no encoder"):
        model().predict(*pairs())
