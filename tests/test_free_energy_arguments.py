"""What one changes of a free energy by one argument."""

import math

import pytest
import torch
from conftest import normal
from torch import nn
from torch.nn.functional import dropout

from ebm import (
    L1,
    LBFGS,
    Ball,
    Box,
    Energy,
    Enumeration,
    FreeEnergy,
    GaussNewton,
    Implicit,
    ProximalGradient,
    Restarts,
    Variational,
)
from ebm.energies import LatentDecoder


class Circle(Energy):
    """How far y lies from the point of the unit circle that the angle z picks, inferred from angle zero."""

    def latent(self, hx, hy):
        return hy.new_zeros(*hy.shape[:-1], 1)

    def cost(self, hx, hy, z=None):
        return (hy - torch.cat([z.cos(), z.sin()], -1)).square().sum(-1)


class Between(Energy):
    """`|y - z|^2`, with what `cost` does to y first."""

    def __init__(self, change=lambda y: y):
        super().__init__()
        self.change = change

    def latent(self, hx, hy):
        return torch.zeros_like(hy)

    def cost(self, hx, hy, z=None):
        return (self.change(hy) - z).square().sum(-1)


def points(*angles, radius=0.5):
    angles = torch.tensor(angles, dtype=torch.float64)
    return radius * torch.stack([angles.cos(), angles.sin()], -1)


def test_restarts_find_what_one_start_does_not():
    y = points(math.pi, 2.0)  # the first is where a start at zero sits on a maximum
    once, often = FreeEnergy(Circle()), FreeEnergy(Circle(), restarts=4)
    # The nearest point of the circle is half a unit away, the start one and a half.
    torch.testing.assert_close(once(None, y), torch.tensor([2.25, 0.25], dtype=torch.float64))
    torch.testing.assert_close(often(None, y), torch.tensor([0.25, 0.25], dtype=torch.float64))
    assert often.infer(None, y).starts.z.shape == (4, 2, 1)


def test_restarts_may_be_spread_and_seeded():
    y = points(math.pi)
    near = FreeEnergy(Circle(), restarts=Restarts(4, spread=1e-12))
    assert near(None, y).item() == pytest.approx(2.25, abs=1e-9)
    first, second = (FreeEnergy(Circle(), restarts=Restarts(3, seed=seed)).infer(None, y).starts for seed in (0, 1))
    assert not torch.equal(first.energy, second.energy) or not torch.equal(first.evaluations, second.evaluations)


def test_the_implicit_derivative_of_an_angle_is_that_of_the_arc_tangent():
    y = points(0.3, -1.1, 2.0).requires_grad_()
    z = FreeEnergy(Circle(), LBFGS(tolerance=1e-10), Implicit()).infer(None, y).z
    (implicit,) = torch.autograd.grad(z.sum(), y)
    (exact,) = torch.autograd.grad(torch.atan2(y[:, 1], y[:, 0]).sum(), y)
    # A gradient of 1e-10 over a curvature of about 1.
    torch.testing.assert_close(implicit, exact, atol=1e-8, rtol=0)


def test_a_latent_may_be_kept_within_a_set():
    y = 3 * normal(6, 4)
    for within in (Box(-1.0, 1.0), Ball(1.0)):
        answer = FreeEnergy(Between(), LBFGS(tolerance=1e-8), within=within).infer(None, y)
        assert answer.converged.all()
        # The nearest point of the set to y: 1e-8 over a curvature of 2.
        torch.testing.assert_close(answer.z, within.project(y), atol=1e-8, rtol=0)


def test_a_penalty_makes_a_latent_sparse_by_the_soft_threshold():
    y = normal(6, 4)
    F = FreeEnergy(Between(), penalty=L1(1.0))
    answer = F.infer(None, y)
    # |y - z|^2 + |z| is least at y less half of its sign, or at zero.
    torch.testing.assert_close(answer.z, y.sign() * (y.abs() - 0.5).relu(), atol=1e-4, rtol=0)
    assert torch.equal(answer.z == 0, y.abs() <= 0.5)
    expected = (y - answer.z).square().sum(-1) + answer.z.abs().sum(-1)
    torch.testing.assert_close(F(None, y), expected, atol=1e-12, rtol=1e-12)


def test_a_solver_that_cannot_take_the_kink_of_a_penalty_is_refused():
    with pytest.raises(ValueError, match=r"LBFGS follows gradients.*use ProximalLBFGS"):
        FreeEnergy(Between(), LBFGS(), penalty=L1(1.0))(None, normal(3, 2))
    assert FreeEnergy(Between(), ProximalGradient(), penalty=L1(1.0)).infer(None, normal(3, 2)).converged.all()


def test_gauss_newton_is_handed_the_residuals_of_an_energy_that_has_them():
    energy, y = LatentDecoder.small().double(), normal(6, 8)
    quick, slow = (FreeEnergy(energy, solver).infer(y, y) for solver in (GaussNewton(), LBFGS()))
    assert quick.converged.all()
    # Two gradients of 1e-4 over curvatures of at least 0.2, squared over as much.
    torch.testing.assert_close(quick.energy, slow.energy, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"needs the residuals.*a method `residuals`"):
        FreeEnergy(Circle(), GaussNewton())(None, points(0.3))


def test_a_discrete_latent_and_a_noisy_one_are_an_argument_each():
    y = points(0.3, 2.0)
    angles = torch.linspace(0, 2 * math.pi, 65, dtype=torch.float64)[:-1, None]
    tried = FreeEnergy(Circle(), Enumeration(angles)).infer(None, y)
    table = (y[:, None] - points(*angles[:, 0].tolist(), radius=1.0)).square().sum(-1)
    assert torch.equal(tried.z[:, 0], angles[table.argmin(1), 0])
    torch.testing.assert_close(tried.energy, table.amin(1), atol=1e-12, rtol=0)
    noisy = FreeEnergy(Circle(), marginal=Variational(beta=1.0))(None, y)
    assert (noisy > tried.energy).all()


def test_inference_keeps_its_precision_under_autocast():
    energy, y = LatentDecoder.small(), normal(16, 8, dtype=torch.float32)
    expected = FreeEnergy(energy).infer(y, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = FreeEnergy(energy).infer(y, y)
        energies = FreeEnergy(energy)(y.bfloat16(), y.bfloat16())
    assert answer.converged.all()
    assert torch.equal(answer.energy, expected.energy)
    # Codes rounded to 8 bits of a square of order 8.
    torch.testing.assert_close(energies, expected.energy, atol=0.3, rtol=0)
    assert energies.dtype == torch.float32


def test_noise_that_no_module_owns_is_refused_too():
    F = FreeEnergy(Between(lambda y: dropout(y, 0.5)))
    with pytest.raises(ValueError, match=r"two evaluations of the energy at one z differ.*is there a dropout"):
        F(None, 1 + normal(8, 4).abs())


class Placed(Energy):
    """A circle with a centre: two latents at once."""

    def latent(self, hx, hy):
        return {"angle": hy.new_full(hy.shape[:-1], 0.5), "centre": torch.zeros_like(hy)}

    def cost(self, hx, hy, z=None):
        ring = torch.stack([z["angle"].cos(), z["angle"].sin()], -1)
        return (hy - z["centre"] - ring).square().sum(-1) + z["centre"].square().sum(-1)


def test_several_latents_are_inferred_at_once_each_within_its_own_set():
    y = points(0.3, -1.1, radius=3.0)
    answer = FreeEnergy(Placed(), LBFGS(tolerance=1e-9)).infer(None, y)
    assert answer.z["angle"].shape == (2,)
    assert answer.z["centre"].shape == (2, 2)
    # Two units off the circle, shared between the centre's distance from y and from zero: 1 + 1.
    torch.testing.assert_close(answer.energy, torch.full((2,), 2.0, dtype=torch.float64), atol=1e-12, rtol=0)
    held = FreeEnergy(Placed(), LBFGS(tolerance=1e-9), within={"angle": None, "centre": Ball(0.5)}).infer(None, y)
    assert (torch.linalg.vector_norm(held.z["centre"], dim=-1) <= 0.5).all()
    torch.testing.assert_close(held.energy, torch.full((2,), 1.5**2 + 0.5**2, dtype=torch.float64), atol=1e-9, rtol=0)


def test_a_code_that_all_samples_share_is_not_taken_for_a_row_of_each():
    # As many features as there are samples: its axis could be either.
    class Shared(Energy):
        def latent(self, hx, hy):
            return torch.zeros_like(hy)

        def cost(self, hx, hy, z=None):
            return (hx + hy - z).square().sum(-1)

    shared, y = normal(4), normal(4, 4, seed=1)
    answer = FreeEnergy(Shared(), LBFGS(tolerance=1e-9)).infer(shared, y)
    # 1e-9 over a curvature of 2.
    torch.testing.assert_close(answer.z, shared + y, atol=1e-9, rtol=0)


def test_pairs_are_those_of_free_energies_one_by_one():
    F, x, y = FreeEnergy(LatentDecoder(nn.Linear(3, 8), 3, 0.5).double()), normal(3, 8), normal(5, 8, seed=1)
    pairs = F.pairs(x, y)
    for i in range(3):
        torch.testing.assert_close(pairs[i], F(x[i : i + 1].expand(5, -1), y), atol=1e-9, rtol=1e-9)


def test_what_an_energy_holds_for_each_entry_of_an_axis_of_the_batch_stays_with_it():
    class Several(Energy):
        """Three decoders side by side, one for each entry of the first axis."""

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[:, None, None])

        def latent(self, hx, hy):
            return torch.zeros_like(hy)

        def cost(self, hx, hy, z=None):
            return (hy - self.scale * z).square().sum(-1)

    y = normal(3, 5, 2)
    answer = FreeEnergy(Several(), LBFGS(tolerance=1e-9)).infer(None, y)
    # 1e-9 over curvatures of at least 2.
    torch.testing.assert_close(answer.z, y / torch.tensor([1.0, 2.0, 3.0]).double()[:, None, None], atol=1e-9, rtol=0)
