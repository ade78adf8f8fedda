import pytest
import torch
from conftest import normal
from torch import nn

from ebm import LBFGS, FreeEnergy, GradientDescent, Unrolled
from ebm.energies import ConditionalAutoencoder, JointEmbedding, OfLatent
from ebm.losses import PushDown
from ebm.networks import MLP, GaussianChannel
from ebm.regularizers import GaussianInformation, NuclearNorm

PREDICTED = {"solver": GradientDescent(steps=0), "adjoint": Unrolled()}


def pairs(n=6):
    return normal(n, 8), normal(n, 8, seed=1)


def linear(latents=2):
    return ConditionalAutoencoder(nn.Linear(8 + latents, 8).double(), latents)


def test_the_inferred_latent_of_a_linear_decoder_is_that_of_least_squares():
    hx, hy = pairs()
    energy = linear()
    from_x, from_z = energy.decoder.weight.detach().split([8, 2], 1)
    left = hy - hx @ from_x.T - energy.decoder.bias.detach()
    z = torch.linalg.lstsq(from_z, left.T).solution.T
    answer = FreeEnergy(energy, LBFGS(tolerance=1e-9)).infer(hx, hy)
    torch.testing.assert_close(answer.z, z, rtol=1e-6, atol=1e-8)  # solved to 1e-9
    torch.testing.assert_close(answer.energy, (left - z @ from_z.T).square().sum(1), rtol=1e-9, atol=1e-12)


def test_without_latent_features_it_is_a_regression():
    energy = ConditionalAutoencoder(nn.Linear(8, 8).double(), 0)
    hx, hy = pairs()
    torch.testing.assert_close(FreeEnergy(energy)(hx, hy), (hy - energy.decoder(hx)).square().sum(1))


def test_images_are_flattened():
    hx, hy = linear().encode(torch.zeros(3, 1, 2, 4), torch.zeros(3, 1, 2, 4))
    assert hx.shape == hy.shape == (3, 8)


def test_no_steps_from_the_prediction_are_the_energy_of_an_autoencoder_with_its_gradient():
    energy = ConditionalAutoencoder.small().double()
    hx, hy = pairs()
    PushDown()(FreeEnergy(energy, **PREDICTED), hx, hy).backward()
    found = [p.grad.clone() for p in energy.parameters()]
    energy.zero_grad()
    z = energy.encoder(torch.cat([hx, hy], 1))
    (hy - energy.decoder(torch.cat([hx, z], 1))).square().sum(1).mean().backward()
    for gradient, p in zip(found, energy.parameters(), strict=True):
        torch.testing.assert_close(gradient, p.grad)
        assert gradient.abs().max() > 0


def test_inference_that_goes_on_from_the_prediction_finds_less_energy():
    energy = ConditionalAutoencoder.small().double()
    hx, hy = pairs()
    assert (FreeEnergy(energy)(hx, hy) < FreeEnergy(energy, **PREDICTED)(hx, hy)).all()


def test_a_channel_is_noisy_in_training_and_else_quiet():
    decoder, encoder = MLP([8 + 3, 8]).double(), MLP([16, 6]).double()
    energy = ConditionalAutoencoder(decoder, 3, encoder, GaussianChannel())
    hx, hy = pairs()
    assert not torch.equal(energy.latent(hx, hy), energy.latent(hx, hy))
    energy.eval()
    torch.testing.assert_close(energy.latent(hx, hy), energy.predict(hx, hy)[:, :3])


def test_a_term_of_the_latent_is_that_of_what_the_encoder_tells():
    energy = ConditionalAutoencoder(MLP([8 + 3, 8]).double(), 3, MLP([16, 6]).double(), GaussianChannel())
    hx, hy = pairs()
    found = OfLatent(GaussianInformation())(FreeEnergy(energy, **PREDICTED), hx, hy)
    torch.testing.assert_close(found, GaussianInformation()(energy.predict(hx, hy)))
    found.backward()
    assert all(p.grad.abs().max() > 0 for p in energy.encoder.parameters())
    assert all(p.grad is None for p in energy.decoder.parameters())


def test_what_has_no_encoder_predicts_no_latent():
    hx, hy = pairs()
    with pytest.raises(ValueError, match="no encoder"):
        OfLatent(NuclearNorm())(FreeEnergy(linear()), hx, hy)
    with pytest.raises(TypeError, match="JointEmbedding"):
        OfLatent(NuclearNorm())(FreeEnergy(JointEmbedding.small().double()), hx, hy)


def test_the_energy_needs_its_latent():
    with pytest.raises(ValueError, match="needs z"):
        linear().cost(*pairs())


@pytest.mark.parametrize(("features", "encoder"), [(-1, None), (0, nn.Identity())])
def test_a_latent_of_no_features_that_is_predicted_is_refused(features, encoder):
    with pytest.raises(ValueError, match="latent has at least one feature"):
        ConditionalAutoencoder(nn.Identity(), features, encoder)
