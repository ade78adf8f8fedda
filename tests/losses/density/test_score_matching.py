import math

import pytest
import torch
from bowls import TRUTH, Bowl, Quadratic, data, fitted, symmetric
from conftest import normal
from torch import nn

from ebm import LBFGS, Detached, Energy, FreeEnergy, Implicit, Newton, Unrolled
from ebm.energies import LatentDecoder
from ebm.losses import DenoisingScoreMatching, ScoreMatching, SlicedScoreMatching


class Wave(Energy):
    """`sum_d a_d sin(y_d y_{d+1})`, whose derivatives are written out below."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def cost(self, hx, hy, z=None):
        return (self.weights * (hy * hy.roll(-1, -1)).sin()).sum(-1)


def test_it_is_the_formula_for_a_normal_density_with_its_gradient():
    a, y = symmetric(4), normal(6, 4)
    energy = Quadratic(a)
    value = ScoreMatching()(FreeEnergy(energy), None, y)
    terms = [(a @ row).square().sum() / 2 - a.trace() for row in y]
    assert value.item() == pytest.approx(sum(terms).item() / 6, rel=1e-12)
    (gradient,) = torch.autograd.grad(value, energy.matrix)
    # The derivative in A alone, which the energy sees as its symmetric half.
    bent = sum(torch.outer(a @ row, row) for row in y) / 6
    torch.testing.assert_close(gradient, (bent + bent.T) / 2 - torch.eye(4), rtol=1e-9, atol=1e-9)


def test_it_is_the_formula_of_the_paper_where_features_interact():
    weights, y = normal(3, seed=1), normal(5, 3)
    total = 0.0
    for row in y.tolist():
        for d in range(3):
            left, here, right = row[d - 1], row[d], row[(d + 1) % 3]
            a, b = weights[d].item(), weights[d - 1].item()
            score = -(a * right * math.cos(here * right) + b * left * math.cos(left * here))
            score_slope = a * right**2 * math.sin(here * right) + b * left**2 * math.sin(left * here)
            total += score_slope + score**2 / 2
    value = ScoreMatching()(FreeEnergy(Wave(weights)), None, y)
    assert value.item() == pytest.approx(total / 5, rel=1e-11)


@pytest.mark.parametrize("features", [2, 8])
def test_the_fit_is_the_inverse_variance_in_any_dimension(features):
    y = data(4000, features)
    found = fitted(ScoreMatching(), y)
    assert found == pytest.approx(features / y.square().sum(1).mean().item(), rel=1e-8)  # the root's tolerance
    assert abs(found - TRUTH) < 5 * TRUTH * math.sqrt(2 / (4000 * features))  # the error of a variance


@pytest.mark.parametrize("loss", [ScoreMatching(), SlicedScoreMatching(), SlicedScoreMatching(2)])
def test_an_energy_without_curvature_has_its_slope_alone(loss):
    class Slope(Bowl):
        def cost(self, hx, hy, z=None):
            return self.k * hy.sum(-1)

    energy = Slope(3.0)
    value = loss(FreeEnergy(energy), None, normal(5, 4))
    assert value.item() == pytest.approx(3.0**2 * 4 / 2, rel=1e-14)
    assert torch.autograd.grad(value, energy.k)[0].item() == pytest.approx(3.0 * 4, rel=1e-14)


def test_shapes_of_features_change_nothing():
    class Flat(Energy):
        def __init__(self):
            super().__init__()
            self.inside = Wave(normal(4, seed=1))

        def cost(self, hx, hy, z=None):
            return self.inside.cost(None, hy.flatten(1))

    y = normal(5, 4)
    for loss in (ScoreMatching(), SlicedScoreMatching(3)):
        torch.manual_seed(0)
        flat = loss(FreeEnergy(Flat()), None, y)
        torch.manual_seed(0)
        assert torch.equal(loss(FreeEnergy(Flat()), None, y.view(5, 1, 2, 2)), flat)


@pytest.mark.parametrize("loss", [ScoreMatching(), SlicedScoreMatching(2)])
@pytest.mark.parametrize("adjoint", [Detached(), Implicit()])
def test_a_latent_without_third_derivatives_is_refused_with_what_to_use(loss, adjoint):
    F = FreeEnergy(LatentDecoder.small().double(), LBFGS(), adjoint)
    with pytest.raises(ValueError, match=r"third derivatives, which \w+ does not have: use `adjoint=Unrolled\(\)`"):
        loss(F, None, normal(3, 8))


def test_through_a_latent_slope_and_curvature_are_those_of_the_free_energy():
    """`min_z |y - z w|^2 + s z^2` is a quadratic of y, whose matrix is known."""

    class Line(Energy):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(normal(3, seed=2))

        def latent(self, hx, hy):
            return hy.new_zeros(len(hy), 1)

        def cost(self, hx, hy, z=None):
            return (hy - z * self.w).square().sum(-1) + 0.5 * z.square().sum(-1)

    def closed(w, y):
        a = 2 * (torch.eye(3) - torch.outer(w, w) / (w @ w + 0.5))
        return ((y @ a).square().sum(1) / 2 - a.trace()).mean()

    energy, y = Line(), normal(4, 3)
    w = energy.w.detach().clone().requires_grad_()
    F = FreeEnergy(energy, Newton(tolerance=1e-10), Unrolled())
    value = ScoreMatching()(F, None, y)
    torch.testing.assert_close(value, closed(w, y), rtol=1e-9, atol=1e-9)
    gradients = torch.autograd.grad(value, energy.w) + torch.autograd.grad(closed(w, y), w)
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-8)  # the tolerance of the solve, differentiated


def test_denoising_through_a_latent_needs_implicit_derivatives_and_agrees_with_unrolled_ones():
    energy, y, gradients = LatentDecoder.small().double(), normal(3, 8), []
    with pytest.raises(RuntimeError, match=r"Use `adjoint=Implicit\(\)`"):
        DenoisingScoreMatching()(FreeEnergy(energy, LBFGS()), None, y).backward()
    for adjoint in (Implicit(), Unrolled()):
        torch.manual_seed(0)
        value = DenoisingScoreMatching()(FreeEnergy(energy, Newton(tolerance=1e-11), adjoint), None, y)
        gradients.append(torch.autograd.grad(value, list(energy.parameters())))
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)  # the tolerance of Implicit's linear solve


def test_the_energy_of_a_conditional_density_is_seen_with_its_x():
    x, y = normal(5, 2, seed=1), normal(5, 2)
    value = ScoreMatching()(FreeEnergy(Bowl(2.0)), x, y)
    assert value.item() == pytest.approx((4 * (y - x).square().sum(1) / 2 - 4).mean().item(), rel=1e-12)
