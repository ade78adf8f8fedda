import pytest
import torch
from conftest import normal
from scipy.stats import kstest, norm
from torch import nn

from ebm.energies import LearnedDynamics
from ebm.networks import MLP, ResidualTransition


def dynamics(latents=0, prior=None):
    return LearnedDynamics(MLP([6, 4]), ResidualTransition(4, 2, latents, (8,)), prior, observation_axes=2).double()


def test_observations_with_any_leading_axes_are_read_one_by_one():
    model = dynamics()
    seen = normal(3, 5, 2, 3)
    codes = model.read(seen)
    assert codes.shape == (3, 5, 4)
    torch.testing.assert_close(codes[1, 2], model.read(seen[1, 2][None])[0])


def test_an_observation_without_a_batch_is_refused():
    with pytest.raises(ValueError, match="at least one batch axis"):
        dynamics().read(torch.zeros(2, 3))


def test_a_rollout_is_its_steps_one_after_another():
    model = dynamics(latents=1)
    code, actions, z = normal(3, 4), normal(3, 5, 2, seed=1), normal(3, 5, 1, seed=2)
    codes = model.rollout(code, actions, z)
    assert codes.shape == (3, 5, 4)
    for t in range(5):
        code = model.step(code, actions[:, t], z[:, t])
        assert torch.equal(codes[:, t], code)


def test_latents_that_are_drawn_are_standard_normal_unless_there_is_a_prior():
    model = dynamics(latents=2)
    codes = torch.zeros(5000, 4).double()
    drawn = model.draw(codes, model.noise(codes, torch.Generator().manual_seed(0)))
    assert kstest(drawn.flatten().numpy(), norm.cdf).pvalue > 0.01


def test_a_prior_is_told_the_code():
    class Shift(nn.Module):
        def forward(self, code, noise):
            return code[..., :1] + noise

    model = dynamics(latents=1, prior=Shift())
    code, actions, noise = normal(2, 4), normal(2, 2, 2, seed=1), normal(2, 2, 1, seed=2)
    imagined = model.imagine(code, actions, noise)
    z = torch.stack([code[:, :1] + noise[:, 0], imagined[:, 0, :1] + noise[:, 1]], 1)
    torch.testing.assert_close(imagined, model.rollout(code, actions, z))


def test_dynamics_without_latents_draw_none():
    model = dynamics()
    assert model.noise(torch.zeros(3, 4), torch.Generator()) is None
    assert model.draw(torch.zeros(3, 4), None) is None
