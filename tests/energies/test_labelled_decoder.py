import pytest
import torch
from conftest import normal
from torch import nn

from ebm import LBFGS, Box, FreeEnergy, GaussNewton, minimize
from ebm.energies import LabelledDecoder


def linear(deviation=0.5):
    """Images `A y + W z`, in which all minima are solutions of linear equations."""
    torch.manual_seed(3)
    return LabelledDecoder(nn.Linear(4 + 2, 8, bias=False), nn.Linear(8 + 4, 2), deviation).double()


def parts(energy):
    """`A` (8, 4) and `W` (8, 2) of the linear decoder."""
    return energy.decoder.weight.detach().split([4, 2], 1)


def test_it_is_the_squared_error_in_deviations_and_the_squared_latent_both_halved():
    energy, x, y, z = linear(0.7), normal(5, 8), normal(5, 4, seed=1), normal(5, 2, seed=2)
    A, W = parts(energy)
    expected = [((x[i] - A @ y[i] - W @ z[i]) / 0.7).square().sum() / 2 + z[i].square().sum() / 2 for i in range(5)]
    # Sums of ten squares in two orders.
    torch.testing.assert_close(energy(x, y, z), torch.stack(expected), atol=1e-13, rtol=1e-13)


def test_of_a_linear_decoder_the_latent_is_that_of_ridge_regression():
    energy, x, y = linear(), normal(5, 8), normal(5, 4, seed=1)
    A, W = parts(energy)
    ridge = torch.linalg.solve(W.T @ W + 0.5**2 * torch.eye(2), W.T @ (x - y @ A.T).T).T
    answer = FreeEnergy(energy, LBFGS(tolerance=1e-10)).infer(x, y)
    # The least curvature is that of |z|^2 / 2, so that z is as close as the gradient is small.
    torch.testing.assert_close(answer.z, ridge, atol=1e-9, rtol=0)


def test_gauss_newton_finds_the_latent_of_a_linear_decoder_in_a_step():
    energy, x, y = linear(), normal(5, 8), normal(5, 4, seed=1)
    answer = FreeEnergy(energy, GaussNewton(damping=0.0, tolerance=1e-9)).infer(x, y)
    assert answer.converged.all()
    assert (answer.steps == 1).all()


def test_told_the_label_and_the_latent_the_image_is_what_the_decoder_says():
    energy, y, z = LabelledDecoder.small().double(), normal(5, 8, seed=1), normal(5, 3, seed=2)
    answer = minimize(lambda x, y, z: energy(x, y, z), normal(5, 8), LBFGS(tolerance=1e-10), given=(y, z))
    # A curvature of 1 / 0.25 in the image, and its gradient below 1e-10.
    torch.testing.assert_close(answer.z, energy.decode(y, z), atol=1e-10, rtol=0)


def test_told_half_of_an_image_the_other_half_costs_nothing_but_what_the_latent_does():
    energy, x, y = linear(), normal(5, 8), normal(5, 4, seed=1)
    A, W = parts(energy)

    def total(unknown, known, y):
        return energy(torch.cat([known, unknown["rest"]], -1), y, unknown["z"])

    start = {"rest": torch.zeros(5, 5).double(), "z": torch.zeros(5, 2).double()}
    within = {"rest": Box(-100, 100), "z": None}
    answer = minimize(total, start, LBFGS(tolerance=1e-9), given=(x[:, :3], y), within=within)
    known = W[:3]
    z = torch.linalg.solve(known.T @ known + 0.5**2 * torch.eye(2), known.T @ (x[:, :3] - y @ A[:3].T).T).T
    # No curvature is below 0.5, so that both are as close as twice the gradient; the decoder's weights are below 1.
    torch.testing.assert_close(answer.z["z"], z, atol=1e-8, rtol=0)
    torch.testing.assert_close(answer.z["rest"], y @ A[3:].T + z @ W[3:].T, atol=1e-8, rtol=0)


def test_inference_starts_where_the_encoder_says_for_labels_and_images_whose_axes_broadcast():
    energy, x, y = linear(), normal(5, 8), normal(3, 4, seed=1)
    start = energy.latent(x[:, None], y)
    assert start.shape == (5, 3, 2)
    # One matrix product in two batches.
    torch.testing.assert_close(start[4, 1], energy.encoder(torch.cat([x[4], y[1]])), atol=1e-14, rtol=0)


def test_without_a_latent_it_says_where_one_comes_from():
    with pytest.raises(ValueError, match="needs z: call FreeEnergy, which infers it, or pass one"):
        LabelledDecoder.small()(torch.zeros(5, 8), torch.zeros(5, 8))


@pytest.mark.parametrize("deviation", [0.0, -1.0, float("nan")])
def test_a_deviation_is_positive(deviation):
    with pytest.raises(ValueError, match=f"deviation of the pixels is positive, not {deviation}"):
        LabelledDecoder(nn.Identity(), nn.Identity(), deviation)
