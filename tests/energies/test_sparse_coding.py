import pytest
import torch
from conftest import normal
from sklearn.linear_model import Lasso, LassoLars
from torch.nn.functional import normalize

from ebm import L1, FreeEnergy, ProximalGradient
from ebm.energies import SparseCoding

STRENGTH = 0.3
PRECISE = ProximalGradient(tolerance=1e-12, steps=20_000)


def dictionary(features=8, latent_features=20, seed=0):
    """More atoms than features, which is when only the penalty keeps the code from saying everything."""
    energy = SparseCoding(features, latent_features).double()
    energy.load_state_dict({"atoms": normalize(normal(features, latent_features, seed=seed), dim=0)})
    return energy


def inferred(energy, y):
    return FreeEnergy(energy, PRECISE, penalty=L1(STRENGTH)).infer(None, y).raise_if_failed()


def objective(y, atoms, z):
    return (y - z @ atoms.T).square().sum(-1) / 2 + STRENGTH * z.abs().sum(-1)


@pytest.mark.parametrize("peer", [Lasso, LassoLars])
def test_the_codes_are_those_of_scikit_learn(peer):
    energy, y = dictionary(), normal(6, 8, seed=1)
    # Its objective is ours over the number of features.
    precision = {"tol": 1e-15, "max_iter": 100_000} if peer is Lasso else {"eps": 1e-15}
    lasso = peer(alpha=STRENGTH / 8, fit_intercept=False, **precision)
    atoms = energy.atoms.detach()
    expected = torch.stack([torch.from_numpy(lasso.fit(atoms.numpy(), row.numpy()).coef_.copy()) for row in y])
    found = inferred(energy, y)
    assert 0 < (expected == 0).double().mean() < 1
    # Both stop at slopes of about 1e-12, which their codes differ by over the least curvature of the atoms in use.
    torch.testing.assert_close(found.z, expected, atol=1e-8, rtol=0)
    torch.testing.assert_close(found.energy, objective(y, atoms, expected), atol=1e-12, rtol=1e-12)


def test_the_same_coefficients_are_exactly_zero():
    energy, y = dictionary(), normal(6, 8, seed=1)
    atoms = energy.atoms.detach()
    lasso = Lasso(alpha=STRENGTH / 8, fit_intercept=False, tol=1e-15, max_iter=100_000)
    expected = torch.stack([torch.from_numpy(lasso.fit(atoms.numpy(), row.numpy()).coef_ == 0) for row in y])
    assert torch.equal(inferred(energy, y).z == 0, expected)


def test_the_derivative_of_the_free_energy_in_the_atoms_is_the_residual_times_the_code():
    energy, y = dictionary(), normal(6, 8, seed=1)
    FreeEnergy(energy, PRECISE, penalty=L1(STRENGTH))(None, y).sum().backward()
    z = inferred(energy, y).z.detach()
    expected = -(y - z @ energy.atoms.detach().T).T @ z
    # Sums of six products, in two orders.
    torch.testing.assert_close(energy.atoms.grad, expected, atol=1e-12, rtol=1e-12)


def test_the_derivative_of_the_free_energy_in_the_atoms_is_its_finite_difference():
    energy, y, way = dictionary(), normal(6, 8, seed=1), normal(8, 20, seed=2)
    F = FreeEnergy(energy, PRECISE, penalty=L1(STRENGTH))
    F(None, y).sum().backward()
    expected = (energy.atoms.grad * way).sum()
    step, ends = 1e-5, []
    for sign in (1, -1):
        moved = SparseCoding(8, 20).double()
        moved.load_state_dict({"atoms": energy.atoms.detach() + sign * step * way})
        ends.append(FreeEnergy(moved, PRECISE, penalty=L1(STRENGTH))(None, y).sum().detach())
    # A central difference is off by its step squared, times third derivatives of some tens.
    torch.testing.assert_close((ends[0] - ends[1]) / (2 * step), expected, atol=1e-7, rtol=1e-7)


def test_a_patch_that_no_atom_explains_better_than_the_penalty_has_no_code():
    energy, y = dictionary(), normal(6, 8, seed=1)
    strongest = (y @ energy.atoms).abs().max().item()
    codes = FreeEnergy(energy, PRECISE, penalty=L1(1.01 * strongest)).infer(None, y)
    assert not codes.z.any()
    torch.testing.assert_close(codes.energy, y.square().sum(-1) / 2)  # the same sum of squares


def test_after_a_step_no_atom_is_longer_than_1_and_those_that_were_not_are_as_they_were():
    energy = SparseCoding(8, 4).double()
    atoms = normalize(normal(8, 4), dim=0) * torch.tensor([0.5, 1.0, 3.0, 0.0], dtype=torch.float64)
    energy.load_state_dict({"atoms": atoms})
    energy.after_step(0.5)
    after = energy.atoms.detach()
    assert torch.equal(after[:, [0, 1, 3]], atoms[:, [0, 1, 3]])
    # One division, and eight squares to measure by.
    torch.testing.assert_close(after[:, 2], atoms[:, 2] / 3, atol=1e-15, rtol=1e-15)


def test_putting_atoms_back_is_done_once():
    energy = SparseCoding(8, 50)
    energy.load_state_dict({"atoms": 10 * normal(8, 50, dtype=torch.float32)})
    energy.after_step(0.1)
    once = energy.atoms.detach().clone()
    energy.after_step(0.2)
    assert torch.equal(energy.atoms, once)


def test_without_a_latent_it_says_where_one_comes_from():
    y = torch.zeros(5, 8)
    with pytest.raises(ValueError, match="needs z: call FreeEnergy, which infers it, or pass one"):
        SparseCoding.small()(None, y)
