import pytest
import torch
from conftest import normal
from torch import nn

from ebm import LBFGS, Energy, FreeEnergy, GradientDescent, Status, Unrolled
from ebm.energies import JointEmbedding, LatentDecoder

STRENGTH = 0.3


def linear_decoder():
    return LatentDecoder(nn.Linear(3, 5, bias=False), latent_features=3, strength=STRENGTH).double()


def ridge(matrix, y):
    """`min_z |y - A z|^2 + l |z|^2 = y' (1 + A A' / l)^-1 y`, by the matrix inversion lemma."""
    inner = torch.eye(len(matrix), dtype=y.dtype) + matrix @ matrix.T / STRENGTH
    return (y * torch.linalg.solve(inner, y.T).T).sum(-1)


class Ellipse(Energy):
    """How far y lies from the point of a learned ellipse that the angle z picks."""

    def __init__(self):
        super().__init__()
        self.radii = nn.Parameter(torch.ones(2))

    def latent(self, hx, hy):
        return hy.new_zeros(*hy.shape[:-1], 1)

    def cost(self, hx, hy, z=None):
        return (hy - self.radii * torch.cat([z.cos(), z.sin()], -1)).square().sum(-1)


class Around(Energy):
    """A squared distance of `y` from `z`, and of `z` from zero, where a module sees either the one or the other."""

    def __init__(self, module, where):
        super().__init__()
        self.module, self.where = module, where

    def encode(self, x, y):
        return x, self.module(y) if self.where == "encode" else y

    def latent(self, hx, hy):
        return torch.zeros_like(hy)

    def cost(self, hx, hy, z=None):
        seen = self.module(z) if self.where == "cost" else z
        return (hy - seen).square().sum(-1) + z.square().sum(-1)


def test_the_free_energy_of_a_linear_decoder_is_that_of_ridge_regression():
    energy, y = linear_decoder(), normal(7, 5)
    F = FreeEnergy(energy, LBFGS(tolerance=1e-8))
    # Off by the square of the gradient at the minimum over a curvature of 0.6: below rounding.
    torch.testing.assert_close(F(y, y), ridge(energy.decoder.weight, y), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("adjoint", [None, Unrolled()], ids=["detached", "unrolled"])
def test_its_gradient_is_that_of_the_closed_form(adjoint):
    energy, y = linear_decoder(), normal(7, 5).requires_grad_()
    wanted = (energy.decoder.weight, y)
    F = FreeEnergy(energy, LBFGS(tolerance=1e-8), adjoint)
    by_envelope = torch.autograd.grad(F(y, y).sum(), wanted)
    closed_form = torch.autograd.grad(ridge(energy.decoder.weight, y).sum(), wanted)
    # The latent is within 1e-8 / 0.6 of its minimum, and seven samples add up.
    torch.testing.assert_close(by_envelope, closed_form, atol=1e-6, rtol=0)


def test_the_free_energy_of_a_circle_is_the_squared_distance_from_it():
    energy, y = Ellipse().double(), normal(9, 2)
    with torch.no_grad():
        energy.radii.fill_(1.7)
    answer = FreeEnergy(energy, LBFGS(tolerance=1e-8)).infer(None, y)
    assert answer.converged.all()
    torch.testing.assert_close(answer.energy, (y.norm(dim=-1) - 1.7).square(), atol=1e-12, rtol=1e-12)
    # The angle is off by a gradient of 1e-8 over a curvature of 2 r |y|, above 0.5 here.
    picked = torch.cat([answer.z.cos(), answer.z.sin()], -1)
    torch.testing.assert_close(picked, y / y.norm(dim=-1, keepdim=True), atol=1e-7, rtol=0)


def test_the_radii_of_an_ellipse_are_learned_from_points_on_it():
    angles = torch.linspace(-1.2, 1.2, 20, dtype=torch.float64)[:, None]  # the side on which inference starts
    y = torch.cat([2 * angles.cos(), 0.8 * angles.sin()], -1)
    energy = Ellipse().double()
    F, optimiser = FreeEnergy(energy), torch.optim.SGD(energy.parameters(), 0.5)
    for _ in range(60):
        optimiser.zero_grad()
        F(None, y).mean().backward()
        optimiser.step()
    # The points hold no noise; what is left is the tolerance of 1e-4 of each angle.
    torch.testing.assert_close(energy.radii.detach(), torch.tensor([2.0, 0.8]).double(), atol=1e-4, rtol=0)


def test_infer_encodes_and_tells_what_became_of_each_sample():
    F = FreeEnergy(LatentDecoder.small().double(), LBFGS(tolerance=1e-6))
    y = normal(4, 8)
    answer = F.infer(y, y)
    assert answer.z.shape == (4, 3)
    assert answer.converged.all()
    assert (answer.steps > 0).all()
    assert torch.equal(answer.energy, F(*F.energy.encode(y, y)))


def test_the_free_energy_is_no_higher_than_the_energy_of_any_latent_nearby():
    F = FreeEnergy(LatentDecoder.small().double())
    y = normal(4, 8)
    answer = F.infer(y, y)
    for seed in range(20):
        assert (F.energy(y, y, answer.z + 0.1 * normal(4, 3, seed=seed)) >= answer.energy).all()


def test_without_a_latent_the_free_energy_is_the_energy():
    energy = JointEmbedding.small().double()
    x, y = normal(4, 8), normal(4, 8, seed=1)
    answer = FreeEnergy(energy).infer(x, y)
    assert torch.equal(answer.energy, energy(x, y))
    assert answer.energy.requires_grad
    assert answer.z.shape == (4, 0)
    assert answer.status.tolist() == [Status.CONVERGED] * 4
    assert answer.steps.tolist() == [0] * 4
    assert answer.evaluations.tolist() == [1] * 4
    assert answer.raise_if_failed() is answer


def test_without_a_latent_pairs_are_those_of_the_energy():
    energy = JointEmbedding.small().double()
    hx, hy = energy.encode(normal(4, 8), normal(3, 8, seed=1))
    assert torch.equal(FreeEnergy(energy).pairs(hx, hy), energy.pairs(hx, hy))


def test_with_a_latent_each_pair_has_a_latent_of_its_own():
    energy, y = linear_decoder(), normal(3, 5)
    pairs = FreeEnergy(energy, LBFGS(tolerance=1e-8)).pairs(normal(4, 5, seed=1), y)
    torch.testing.assert_close(pairs, ridge(energy.decoder.weight, y).expand(4, 3), atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize(
    "module",
    [nn.BatchNorm1d(3), nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), nn.Dropout(0.5), nn.AlphaDropout(0.5)],
    ids=["batch norm", "batch norm inside", "dropout", "alpha dropout"],
)
def test_what_couples_samples_or_draws_noise_is_refused_inside_cost(module):
    F = FreeEnergy(Around(module, "cost"))
    with pytest.raises(
        ValueError, match=r"`cost` ran (BatchNorm1d|Dropout|AlphaDropout) in training mode.*`\.eval\(\)`"
    ):
        F(None, normal(4, 3, dtype=torch.float32))


@pytest.mark.parametrize("module", [nn.BatchNorm1d(3), nn.Dropout(0.5)], ids=["batch norm", "dropout"])
def test_the_same_is_allowed_in_encode_and_in_evaluation_mode(module):
    y = normal(4, 3, dtype=torch.float32)
    assert FreeEnergy(Around(module, "encode")).infer(None, y).converged.all()
    assert FreeEnergy(Around(module, "cost").eval())(None, y).isfinite().all()


def test_what_treats_samples_one_by_one_is_allowed_inside_cost():
    assert FreeEnergy(Around(nn.LayerNorm(3), "cost"))(None, normal(4, 3, dtype=torch.float32)).isfinite().all()


def test_batch_norm_without_running_statistics_couples_samples_in_evaluation_mode_too():
    F = FreeEnergy(Around(nn.BatchNorm1d(3, track_running_stats=False), "cost").eval())
    with pytest.raises(ValueError, match="`cost` ran BatchNorm1d"):
        F(None, normal(4, 3, dtype=torch.float32))


def test_a_refusal_leaves_nothing_behind():
    module = nn.BatchNorm1d(3)
    F, y = FreeEnergy(Around(module, "cost")), normal(4, 3, dtype=torch.float32)
    with pytest.raises(ValueError, match="BatchNorm1d"):
        F(None, y)
    assert module(y).shape == (4, 3)
    assert not module._forward_pre_hooks


def test_the_solver_and_the_adjoint_are_arguments():
    energy, y = linear_decoder(), normal(3, 5)
    F = FreeEnergy(energy, GradientDescent(rate=0.05, steps=3), Unrolled())
    answer = F.infer(y, y)
    assert answer.steps.tolist() == [3] * 3
    assert answer.z.requires_grad


def test_its_parameters_are_those_of_the_energy():
    energy = LatentDecoder.small()
    assert list(FreeEnergy(energy).parameters()) == list(energy.parameters())
