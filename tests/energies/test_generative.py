import pytest
import torch
from conftest import normal
from torch import nn

from ebm import FreeEnergy
from ebm.distances import EuclideanDistance
from ebm.energies import AutoencodingDynamics, LearnedDynamics, NextObservation, OfTrajectory, Situation, WorldModel
from ebm.learner import Learner, Term
from ebm.losses import PushDown
from ebm.networks import MLP, ResidualTransition
from ebm.regularizers import Variance
from ebm.regularizers.trajectories import TemporalSmoothness

PIXELS = 2 * 3 * 4
RIVALS = pytest.mark.parametrize("kind", [NextObservation, AutoencodingDynamics])


def dynamics(actions=2, latents=0):
    return LearnedDynamics(MLP([PIXELS, 5]), ResidualTransition(5, actions, latents, (7,)))


def decoder(images=False):
    return nn.Sequential(MLP([5, PIXELS]), nn.Unflatten(1, (2, 3, 4))) if images else MLP([5, PIXELS])


def pictures(count=3, steps=4, actions=2):
    return Situation(normal(count, 2, 3, 4), normal(count, steps, actions, seed=1)), normal(
        count, steps, 2, 3, 4, seed=2
    )


@pytest.mark.parametrize("images", [False, True])
def test_pixels_are_decoded_from_where_the_code_goes_and_compared_with_what_is_seen(images):
    energy = NextObservation(dynamics(), decoder(images)).double()
    x, y = pictures()
    expected = []
    for i in range(3):
        code, misses = energy.dynamics.read(x.observation[i : i + 1]), []
        for t in range(4):
            code = energy.dynamics.step(code, x.actions[i : i + 1, t])
            misses.append((energy.decoder(code).flatten() - y[i, t].flatten()).square().mean())
        expected.append(torch.stack(misses).mean())
    torch.testing.assert_close(energy(x, y), torch.stack(expected))


@pytest.mark.parametrize("images", [False, True])
def test_an_autoencoder_remakes_what_is_seen_and_foretells_its_own_codes(images):
    energy = AutoencodingDynamics(dynamics(), decoder(images), weight=0.3).double()
    x, y = pictures()
    expected = []
    for i in range(3):
        code, misses = energy.dynamics.read(x.observation[i : i + 1]), []
        for t in range(4):
            code = energy.dynamics.step(code, x.actions[i : i + 1, t])
            own = energy.dynamics.read(y[i : i + 1, t])
            made = (energy.decoder(own).flatten() - y[i, t].flatten()).square().mean()
            misses.append(made + 0.3 * (code - own).square().mean())
        expected.append(torch.stack(misses).mean())
    torch.testing.assert_close(energy(x, y), torch.stack(expected))


def test_the_encoder_is_not_drawn_to_codes_that_are_easy_to_foretell():
    energy = AutoencodingDynamics(dynamics(), decoder()).double()
    x, y = pictures()
    hx, hy = energy.encode(x, y)
    slopes = torch.autograd.grad(energy.cost(hx.detach(), hy).sum(), hy)[0][..., :5]
    alone = AutoencodingDynamics(energy.dynamics, energy.decoder, weight=0.0)
    expected = torch.autograd.grad(alone.cost(hx, alone.target_codes(y).detach().requires_grad_(False), None).sum(), hx)
    remade = hy.detach()[..., :5].requires_grad_()
    made = (energy.decoder(remade) - y.flatten(2)).square().mean(-1).mean(-1).sum()
    torch.testing.assert_close(slopes, torch.autograd.grad(made, remade)[0])
    assert not expected[0].any()


def test_the_distance_of_pixels_can_be_another():
    x, y = pictures()
    energy = NextObservation(dynamics(), decoder(), EuclideanDistance()).double()
    made = energy.decoder(energy.dynamics.rollout(energy.dynamics.read(x.observation), x.actions))
    torch.testing.assert_close(energy(x, y), (made - y.flatten(2)).norm(dim=-1).mean(-1))


@RIVALS
def test_it_stands_where_a_world_model_does(kind):
    torch.manual_seed(0)
    model = kind(dynamics(), decoder()).double()
    reference = WorldModel(model.dynamics).double()
    x, y = pictures()
    torch.testing.assert_close(model.encode(x, y)[0], reference.encode(x, y)[0])
    torch.testing.assert_close(model.represent(x), reference.represent(x))
    learner = Learner(model, {"energy": Term(1, PushDown())}, {"variance": Term(1, Variance())})
    terms, _, _ = learner.double().terms(x, y)
    assert terms.keys() == {"energy", "variance"}
    torch.testing.assert_close(terms["energy"], model(x, y).mean())


def test_regularizers_see_the_codes_of_an_autoencoder_as_those_of_a_world_model():
    model = AutoencodingDynamics(dynamics(), decoder()).double()
    reference = WorldModel(model.dynamics).double()
    x, y = pictures()
    torch.testing.assert_close(model.rows(*model.encode(x, y)), reference.rows(*reference.encode(x, y)))
    smooth = OfTrajectory(TemporalSmoothness())
    found, expected = (smooth(FreeEnergy(energy), *energy.encode(x, y)) for energy in (model, reference))
    torch.testing.assert_close(found, expected)


def test_the_codes_in_order_of_a_model_of_pixels_are_those_that_it_imagines():
    model = NextObservation(dynamics(), decoder()).double()
    x, y = pictures()
    code = model.dynamics.read(x.observation)
    imagined = torch.cat([code[:, None], model.dynamics.rollout(code, x.actions)], 1)
    codes, actions = model.trajectory(*model.encode(x, y))
    torch.testing.assert_close(codes, imagined)
    torch.testing.assert_close(actions, x.actions)
    torch.testing.assert_close(model.rows(*model.encode(x, y)), (code,))


@RIVALS
def test_worlds_without_actions_have_models_without(kind):
    model = kind(dynamics(actions=0), decoder()).double()
    x, y = pictures(actions=0)
    assert model(x, y).shape == (3,)


@RIVALS
def test_a_transition_with_latents_is_refused(kind):
    with pytest.raises(ValueError, match="takes no latents, not 2"):
        kind(dynamics(latents=2), decoder())


@pytest.mark.parametrize("weight", [-0.1, float("nan")])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="finite and not negative"):
        AutoencodingDynamics(dynamics(), decoder(), weight)
