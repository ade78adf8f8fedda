from itertools import pairwise

import pytest
import torch
from classics import SETS, check_constrained, rosenbrock, starts, walk
from conftest import normal

from ebm import L1, BarzilaiBorwein, GroupL1, NonNegativeL1, ProjectedGradient, ProximalGradient, Unrolled, minimize


def bowl(curvatures):
    return lambda z: (curvatures * z.square()).sum(-1) / 2


def test_after_a_step_that_is_taken_the_next_is_one_over_the_curvature_along_it_in_one_of_two_measures():
    checked = {False: 0, True: 0}
    for (before, old), (after, new) in pairwise(walk(BarzilaiBorwein(), rosenbrock, starts(6, 4), steps=60)):
        move, change = after.z - before.z, after.gradient - before.gradient
        curvature = (move * change).sum(-1)
        taken = (after.z != before.z).any(-1)
        assert torch.equal(new.short, old.short ^ taken)
        for short, measure in (
            (False, move.square().sum(-1) / curvature),
            (True, curvature / change.square().sum(-1)),
        ):
            bent = (curvature > 1e-8) & (old.short == short)
            # A few products of numbers up to 1e3.
            torch.testing.assert_close(new.length[bent], measure[bent], rtol=1e-10, atol=0)
            checked[short] += int(bent.sum())
    assert min(checked.values()) > 50


def test_in_two_dimensions_it_converges_faster_than_linearly():
    # Barzilai and Borwein 1988, section 3: R-superlinear, so that doubling the digits takes less than double the steps.
    fn, start = bowl(torch.tensor([1.0, 20.0], dtype=torch.float64)), torch.ones(1, 2, dtype=torch.float64)
    coarse, fine = (minimize(fn, start, BarzilaiBorwein(tolerance=t)).steps.item() for t in (1e-6, 1e-12))
    assert fine < 1.5 * coarse


def test_the_energy_may_rise_but_not_above_the_highest_of_the_last_ten_that_were_taken():
    rises = 0
    for (before, memory), (after, then) in pairwise(walk(BarzilaiBorwein(), rosenbrock, starts(6, 4), steps=200)):
        assert (after.energy <= memory.recent.amax(-1) * (1 + 1e-12)).all()  # a hundred roundings
        taken = (after.z != before.z).any(-1)
        assert torch.equal(then.recent[taken, -1], after.energy[taken])
        assert torch.equal(then.recent[taken, :-1], memory.recent[taken, 1:])
        rises += int((after.energy > 1.001 * before.energy).sum())
    assert rises > 10


def test_with_a_history_of_one_the_energy_never_rises():
    energies = [point.energy for point, _ in walk(BarzilaiBorwein(history=1), rosenbrock, starts(6, 4), steps=100)]
    assert all((after <= before * (1 + 1e-12)).all() for before, after in pairwise(energies))  # a hundred roundings


def test_a_refused_step_is_tried_again_at_half_its_length():
    refusals = 0
    for (point, memory), (after, then) in pairwise(walk(BarzilaiBorwein(), rosenbrock, starts(6, 4), steps=60)):
        refused = (after.z == point.z).all(-1)
        assert torch.equal(then.length[refused], memory.length[refused] / 2)
        assert torch.equal(then.recent[refused], memory.recent[refused])
        refusals += int(refused.sum())
    assert refusals > 5


def test_a_bowl_of_very_different_curvatures_takes_it_a_third_of_the_evaluations_of_projected_gradient():
    fn, start = bowl(torch.logspace(0, 2, 10, dtype=torch.float64)), torch.ones(1, 10, dtype=torch.float64)
    quick, slow = (
        minimize(fn, start, kind(tolerance=1e-8, steps=5000)) for kind in (BarzilaiBorwein, ProjectedGradient)
    )
    assert quick.converged.all()
    assert slow.converged.all()
    assert 3 * quick.evaluations < slow.evaluations


@pytest.mark.parametrize("name", SETS)
def test_it_finds_the_minimum_in_a_set(name):
    check_constrained(BarzilaiBorwein(tolerance=1e-6), name)


@pytest.mark.parametrize("penalty", [L1(0.3), NonNegativeL1(0.3), GroupL1(0.5, 2)], ids=str)
def test_under_a_penalty_it_finds_what_proximal_gradient_does(penalty):
    matrix, b = normal(6, 8, 8), normal(6, 8, seed=1)

    def fn(z):
        return ((matrix @ z[..., None])[..., 0] - b).square().sum(-1) / 2

    start = torch.zeros(6, 8, dtype=torch.float64)
    spectral, fixed = (
        minimize(fn, start, kind(tolerance=1e-7, steps=20000), penalty=penalty)
        for kind in (BarzilaiBorwein, ProximalGradient)
    )
    assert spectral.converged.all()
    assert fixed.converged.all()
    assert torch.equal(spectral.z == 0, fixed.z == 0)
    # The square of the tolerance over the least curvature, of about 1e-2.
    torch.testing.assert_close(spectral.energy, fixed.energy, atol=1e-10, rtol=0)


def test_under_a_penalty_each_step_is_a_proximal_step_of_its_length():
    matrix, b, penalty = normal(6, 5, 8), normal(6, 5, seed=1), L1(0.3)

    def fn(z):
        return ((matrix @ z[..., None])[..., 0] - b).square().sum(-1) / 2

    moved = 0
    for (point, memory), (after, _) in pairwise(walk(BarzilaiBorwein(), fn, starts(6, 8), steps=30, penalty=penalty)):
        length = memory.length[:, None]
        expected = penalty.prox(point.z - length * point.gradient, length)
        taken = (after.z != point.z).any(-1)
        torch.testing.assert_close(after.z[taken], expected[taken], rtol=0, atol=1e-14)  # a fused product
        moved += int(taken.sum())
    assert moved > 100


def test_a_sparse_code_takes_it_two_thirds_of_the_evaluations_of_proximal_gradient():
    atoms = torch.nn.functional.normalize(normal(64, 128), dim=0)
    code = normal(8, 128, seed=1) * (normal(8, 128, seed=2) > 1.5)
    start = torch.zeros_like(code)
    spectral, accelerated = (
        minimize(lambda z: ((z - code) @ atoms.T).square().sum(-1) / 2, start, kind(), penalty=L1(0.1))
        for kind in (BarzilaiBorwein, ProximalGradient)
    )
    assert spectral.converged.all()
    assert 3 * spectral.evaluations.sum() < 2 * accelerated.evaluations.sum()


def test_negative_curvature_lengthens_its_steps():
    # A double well started on its hump, where the curvature is negative.
    answer = minimize(lambda z: (z.square() - 1).square().sum(-1), 1e-6 * normal(5, 2), BarzilaiBorwein(tolerance=1e-8))
    assert answer.converged.all()
    assert answer.steps.max() < 40
    # A curvature of 8 at the wells.
    torch.testing.assert_close(answer.z.abs(), torch.ones(5, 2, dtype=torch.float64), atol=1e-8, rtol=0)


def test_the_derivative_through_its_steps_is_that_of_the_minimum():
    target = normal(4, 3).requires_grad_()
    curvatures = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    answer = minimize(
        lambda z: (curvatures * (z - target).square()).sum(-1),
        torch.zeros(4, 3, dtype=torch.float64),
        BarzilaiBorwein(tolerance=1e-10),
        adjoint=Unrolled(),
    )
    (derivative,) = torch.autograd.grad(answer.z.sum(), target)
    # The minimum is the target itself; the derivative of an iterate lags behind it.
    torch.testing.assert_close(derivative, torch.ones(4, 3, dtype=torch.float64), atol=1e-5, rtol=0)
