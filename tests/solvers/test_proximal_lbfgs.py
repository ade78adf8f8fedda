from itertools import pairwise

import numpy as np
import pytest
import torch
from classics import SETS, check_constrained, rosenbrock, starts, walk
from conftest import normal
from sklearn.datasets import load_digits
from sklearn.linear_model import Lasso

from ebm import (
    L1,
    L2,
    LBFGS,
    Box,
    GroupL1,
    Implicit,
    NonNegativeL1,
    ProximalGradient,
    ProximalLBFGS,
    Unrolled,
    minimize,
)

TIGHT = ProximalLBFGS(tolerance=1e-9, steps=5000)


def distance(atoms, y):
    """`|y - atoms z|^2 / 2`."""
    return lambda z: (y - z @ atoms.T).square().sum(-1) / 2


def alike(features, count, seed=0):
    """Atoms of length 1 that have much in common: their curvatures differ by a factor of hundreds."""
    atoms = normal(features, count, seed=seed) + 3 * normal(features, 1, seed=seed + 1) * normal(
        1, count, seed=seed + 2
    )
    return torch.nn.functional.normalize(atoms, dim=0)


@pytest.mark.parametrize("strength", [0.1, 0.5, 10.0])
def test_over_orthogonal_atoms_a_code_is_the_soft_threshold_of_its_coefficients(strength):
    atoms, _ = torch.linalg.qr(normal(6, 6))
    y = normal(5, 6, seed=1)
    answer = minimize(distance(atoms, y), torch.ones(5, 6, dtype=torch.float64), TIGHT, penalty=L1(strength))
    expected = torch.nn.functional.softshrink(y @ atoms, strength)
    assert answer.converged.all()
    assert torch.equal(answer.z == 0, expected == 0)
    torch.testing.assert_close(answer.z, expected, atol=1e-9, rtol=0)  # a curvature of 1


@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("kind", ["unlike", "alike"])
def test_a_sparse_code_is_the_lasso_of_scikit_learn(kind, positive):
    # More features than atoms, so that there is one minimum.
    atoms = torch.nn.functional.normalize(normal(30, 20), dim=0) if kind == "unlike" else alike(30, 20)
    y, strength = normal(6, 30, seed=5), 0.1
    penalty = NonNegativeL1(strength) if positive else L1(strength)
    answer = minimize(distance(atoms, y), torch.zeros(6, 20, dtype=torch.float64), TIGHT, penalty=penalty)
    assert answer.converged.all()
    for i in range(6):
        lasso = Lasso(alpha=strength / 30, fit_intercept=False, positive=positive, tol=1e-14, max_iter=10**6)
        expected = lasso.fit(atoms.numpy(), y[i].numpy()).coef_
        assert np.array_equal(answer.z[i].numpy() == 0, expected == 0)
        # A duality gap of 1e-14 |y|^2 over a least curvature of about 0.01.
        torch.testing.assert_close(answer.z[i], torch.from_numpy(expected), atol=1e-6, rtol=0)


def test_groups_are_zero_where_their_slope_is_short_and_else_balance_it():
    # The conditions of Yuan and Lin 2006, eq. 2.2 and 2.3, written out.
    atoms, y, strength = alike(12, 20), normal(8, 12, seed=3), 0.3
    start = torch.zeros(8, 20, dtype=torch.float64)
    answer = minimize(distance(atoms, y), start, TIGHT, penalty=GroupL1(strength, 4))
    assert answer.converged.all()
    slope = (answer.z @ atoms.T - y) @ atoms
    empty = 0
    for group, pull in zip(answer.z.reshape(-1, 4), slope.reshape(-1, 4), strict=True):
        if group.any():
            torch.testing.assert_close(pull, -strength * group / group.norm(), atol=2e-9, rtol=0)  # the tolerance
        else:
            assert pull.norm() <= strength + 2e-9
            empty += 1
    assert 0 < empty < 40


def test_a_quadratic_penalty_gives_the_ridge_regression():
    atoms, y = alike(12, 20), normal(4, 12, seed=3)
    answer = minimize(distance(atoms, y), torch.zeros(4, 20, dtype=torch.float64), TIGHT, penalty=L2(0.2))
    expected = torch.linalg.solve(atoms.T @ atoms + 0.2 * torch.eye(20, dtype=torch.float64), atoms.T @ y.T).T
    torch.testing.assert_close(answer.z, expected, atol=5e-8, rtol=0)  # the tolerance over a curvature of 0.2


@pytest.mark.parametrize("name", SETS)
def test_it_finds_the_minimum_in_a_set(name):
    check_constrained(ProximalLBFGS(tolerance=1e-6), name)


def test_parts_of_z_may_have_a_penalty_a_constraint_or_neither():
    start = {"code": torch.zeros(3, 4).double(), "free": torch.zeros(3, 2).double(), "bound": torch.ones(3, 2).double()}
    goals = {key: normal(*part.shape, seed=i) for i, (key, part) in enumerate(start.items())}

    def fn(z):
        return sum((z[key] - goals[key]).square().sum(-1) / 2 for key in z) + z["free"].square().square().sum(-1)

    answer = minimize(
        fn,
        start,
        TIGHT,
        penalty={"code": L1(0.4), "free": None, "bound": None},
        within={"code": None, "free": None, "bound": Box(-0.5, 0.5)},
    )
    assert answer.converged.all()
    # Curvatures of 1 and more.
    torch.testing.assert_close(answer.z["code"], torch.nn.functional.softshrink(goals["code"], 0.4), atol=1e-8, rtol=0)
    torch.testing.assert_close(answer.z["bound"], goals["bound"].clamp(-0.5, 0.5), atol=1e-8, rtol=0)
    balance = answer.z["free"] - goals["free"] + 4 * answer.z["free"] ** 3
    torch.testing.assert_close(balance, torch.zeros_like(balance), atol=1e-8, rtol=0)


def quartic(z):
    """Not a quadratic, and with a cross term."""
    return z.pow(4).sum(-1) / 4 + (z.sum(-1) - 3).square() / 2


@pytest.mark.parametrize("penalty", [None, L1(0.3), GroupL1(0.3, 2)], ids=str)
def test_no_energy_is_above_the_highest_of_the_last_ones_that_were_taken(penalty):
    steps, moved = list(walk(ProximalLBFGS(window=3), quartic, starts(6, 4), steps=40, penalty=penalty)), 0
    for (before, memory), (after, then) in pairwise(steps):
        assert (after.energy <= memory.recent.amax(-1) * (1 + 1e-12)).all()  # a hundred roundings
        taken = (after.z != before.z).any(-1)
        assert torch.equal(then.recent[taken, -1], after.energy[taken])
        moved += int(taken.sum())
    assert moved > 30


def test_a_step_is_the_proximal_one_or_stays_on_the_face_and_in_its_closure():
    atoms, penalty = alike(12, 20), L1(0.1)
    fn = distance(atoms, normal(6, 12, seed=1))
    start, counts = torch.zeros(6, 20, dtype=torch.float64), [0, 0]
    for (point, memory), (after, _) in pairwise(walk(ProximalLBFGS(), fn, start, steps=40, penalty=penalty)):
        length = memory.length[:, None].clone()
        proximal = penalty.prox(point.z - length * point.gradient, length)
        near = torch.isclose(after.z, proximal, rtol=0, atol=1e-14).all(-1)  # a fused product
        stays = (after.z.sign() == point.z.sign()) | (after.z == 0)
        assert (near | stays.all(-1)).all()
        counts = [counts[0] + int(near.sum()), counts[1] + int((stays.all(-1) & ~near).sum())]
    assert min(counts) > 10


def test_a_refused_step_on_the_face_is_cut_until_a_proximal_step_takes_its_place():
    solver, refusals, replaced = ProximalLBFGS(shortest=0.2), 0, 0
    steps = list(walk(solver, rosenbrock, starts(32, 4), steps=80, penalty=L1(0.3)))
    for (point, memory), (after, then), (later, _) in zip(steps, steps[1:], steps[2:], strict=False):
        refused = (after.z == point.z).all(-1) & (memory.stride > 0) & (then.stride < memory.stride)
        shorter = memory.stride[refused] / 2
        assert torch.equal(then.stride[refused], torch.where(shorter >= 0.2, shorter, 0))
        length = then.length[:, None]
        expected = L1(0.3).prox(after.z - length * after.gradient, length)
        last = refused & (then.stride == 0) & (later.z != after.z).any(-1)
        torch.testing.assert_close(later.z[last], expected[last], rtol=0, atol=1e-12)  # a fused product
        refusals, replaced = refusals + int(refused.sum()), replaced + int(last.sum())
    assert refusals > 20
    assert replaced > 3


def digits():
    """Digits and others of them as atoms, all positive and much alike."""
    images = torch.from_numpy(load_digits().data) / 16
    return torch.nn.functional.normalize(images[:128], dim=1).T, images[200:232] - images[:128].mean(0)


@pytest.mark.parametrize(
    ("atoms", "y", "share"),
    [
        (torch.nn.functional.normalize(normal(64, 128), dim=0), normal(16, 64, seed=1), 0.6),
        (alike(64, 128), normal(16, 64, seed=1), 0.35),
        (*digits(), 0.5),
    ],
    ids=["unlike", "alike", "digits"],
)
def test_a_sparse_code_takes_it_a_fraction_of_the_evaluations_of_proximal_gradient(atoms, y, share):
    start = torch.zeros(len(y), 128, dtype=torch.float64)
    quick, slow = (
        minimize(lambda z, y: distance(atoms, y)(z), start, kind(steps=5000), given=(y,), penalty=L1(0.1))
        for kind in (ProximalLBFGS, ProximalGradient)
    )
    assert quick.converged.all()
    assert slow.converged.all()
    assert quick.evaluations.sum() < share * slow.evaluations.sum()
    # The square of the tolerance over the least curvature on a face, of about 1e-3.
    torch.testing.assert_close(quick.energy, slow.energy, atol=1e-4, rtol=0)


def test_without_a_penalty_it_takes_about_as_many_evaluations_as_lbfgs():
    face, search = (minimize(rosenbrock, starts(16, 6), kind(tolerance=1e-6)) for kind in (ProximalLBFGS, LBFGS))
    assert face.converged.all()
    assert face.evaluations.sum() < 1.5 * search.evaluations.sum()


@pytest.mark.parametrize("penalty", [L1(0.15), NonNegativeL1(0.15), GroupL1(0.15, 2)], ids=str)
def test_derivatives_through_its_steps_and_of_its_minimum_agree_with_finite_differences(penalty):
    atoms, y, weights = normal(8, 6), normal(4, 8, seed=1), normal(4, 6, seed=2)
    direction, start, step = normal(8, 6, seed=3), torch.full((4, 6), 0.1, dtype=torch.float64), 1e-5

    def loss(atoms, adjoint=None):
        solver = ProximalLBFGS(tolerance=1e-11)
        return (minimize(distance(atoms, y), start, solver, penalty=penalty, adjoint=adjoint).z * weights).sum()

    expected = (loss(atoms + step * direction) - loss(atoms - step * direction)) / (2 * step)
    leaf = atoms.clone().requires_grad_()
    # Minima good to 1e-11 differ over 1e-5; an iterate's derivative lags behind it by the root of its distance.
    for adjoint, rtol in ((Implicit(), 1e-5), (Unrolled(), 1e-3)):
        (gradient,) = torch.autograd.grad(loss(leaf, adjoint), leaf)
        torch.testing.assert_close((gradient * direction).sum(), expected, atol=0, rtol=rtol)


def test_negative_curvature_lengthens_its_steps():
    # A double well started on its hump, where the curvature is negative.
    answer = minimize(lambda z: (z.square() - 1).square().sum(-1), 1e-6 * normal(5, 2), ProximalLBFGS(tolerance=1e-8))
    assert answer.converged.all()
    assert answer.steps.max() < 40
    # A curvature of 8 at the wells.
    torch.testing.assert_close(answer.z.abs(), torch.ones(5, 2, dtype=torch.float64), atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", ["history", "window", "share"])
def test_settings_that_make_no_sense_are_refused(name):
    with pytest.raises(ValueError, match=f"the `{name}` of ProximalLBFGS is positive and finite, not 0"):
        ProximalLBFGS(**{name: 0})
