"""What holds for every energy, found by listing `ebm/energies`: a file dropped there is tested by being there."""

import pytest
import torch
from conftest import every, normal
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only, tree_unflatten

from ebm import LBFGS, Energy, FreeEnergy
from ebm.energies.world_model import Rollouts, Situation

energies = pytest.mark.parametrize("kind", every("ebm.energies", Energy))

# Two matrix products of one energy differ by rounding alone: some hundred operations of 2e-16 each.
ROUNDING = {"atol": 1e-12, "rtol": 1e-12}


def variables(kind, n=5, seed=0):
    """`x` and `y` of 8 features; for an energy of trajectories 6 steps of 3 actions, and what is seen after each."""
    x, y = normal(n, 8, seed=seed), normal(n, 8, seed=seed + 1)
    if issubclass(kind, Rollouts):
        return Situation(x, normal(n, 6, 3, seed=seed + 2)), y[:, None] + normal(n, 6, 8, seed=seed + 3)
    return x, y


def single(variable):
    return tree_map_only(torch.Tensor, torch.Tensor.float, variable)


def of_rows(variable, index):
    return tree_map_only(torch.Tensor, lambda part: part[index], variable)


def small(kind):
    """One in evaluation mode, since a branch in training mode may hold batch normalisation, and in float64."""
    return kind.small().double().eval()


def some_latent(energy, hx, hy, seed=2):
    """A latent that is no special point, shaped as inference starts it; None for an energy that has none."""
    start = energy.latent(hx, hy)
    return None if start is None else tree_map(lambda part: part + normal(*part.shape, seed=seed), start)


@energies
def test_an_energy_is_one_number_per_sample(kind):
    energy = small(kind)
    x, y = variables(kind)
    hx, hy = energy.encode(x, y)
    z = some_latent(energy, hx, hy)
    assert len(hx) == len(hy) == 5
    assert energy.cost(hx, hy, z).shape == (5,)
    assert energy.cost(hx, hy, z).isfinite().all()


@energies
def test_calling_an_energy_is_the_cost_of_the_codes(kind):
    energy = small(kind)
    x, y = variables(kind)
    hx, hy = energy.encode(x, y)
    z = some_latent(energy, hx, hy)
    assert torch.equal(energy(x, y, z), energy.cost(hx, hy, z))


@energies
def test_residuals_are_those_whose_squares_add_up_to_the_energy(kind):
    energy = small(kind)
    x, y = variables(kind)
    hx, hy = energy.encode(x, y)
    z = some_latent(energy, hx, hy)
    residuals = energy.residuals(hx, hy, z)
    if residuals is not None:
        torch.testing.assert_close(residuals.square().sum(-1), energy.cost(hx, hy, z), **ROUNDING)


@energies
def test_an_energy_tells_apart_what_goes_with_what(kind):
    energy = small(kind)
    x, y = variables(kind)
    hx, hy = energy.encode(x, y)
    z = some_latent(energy, hx, hy)
    assert energy.cost(hx, hy, z).std() > 1e-6
    assert (energy.cost(hx, hy.roll(1, 0), z) - energy.cost(hx, hy, z)).abs().max() > 1e-6


@energies
def test_leading_axes_of_the_codes_broadcast(kind):
    energy = small(kind)
    x, y = variables(kind)
    hx, hy = energy.encode(x, y)
    wide = hx[:4, None], hy[None, :3]
    z = some_latent(energy, hx[:4, None].expand(4, 3, *hx.shape[1:]), hy[None, :3].expand(4, 3, *hy.shape[1:]))
    one_by_one = [[energy.cost(hx[i], hy[j], of_rows(z, (i, j))).item() for j in range(3)] for i in range(4)]
    torch.testing.assert_close(energy.cost(*wide, z), torch.tensor(one_by_one, dtype=torch.float64), **ROUNDING)


@energies
def test_leading_axes_of_a_free_energy_broadcast(kind):
    F = FreeEnergy(small(kind), LBFGS(tolerance=1e-8))
    hx, hy = F.energy.encode(*variables(kind))
    broadcast = F(hx[:4, None], hy[None, :3])
    assert broadcast.shape == (4, 3)
    # Both are minima to a gradient of 1e-8, whose square is the error of the energy; the rest is rounding.
    torch.testing.assert_close(broadcast, F.pairs(hx[:4], hy[:3]), atol=1e-10, rtol=1e-10)


@energies
def test_pairs_are_the_energies_of_each_x_with_each_y(kind):
    F = FreeEnergy(small(kind), LBFGS(tolerance=1e-8))
    hx, hy = F.energy.encode(*variables(kind))
    pairs = F.pairs(hx[:4], hy[:3])
    one_by_one = [[F(hx[i : i + 1], hy[j : j + 1]).item() for j in range(3)] for i in range(4)]
    # As above.
    torch.testing.assert_close(pairs, torch.tensor(one_by_one, dtype=torch.float64), atol=1e-10, rtol=1e-10)


@energies
@given(order=st.permutations(range(5)))
def test_permuting_the_batch_permutes_the_energies(kind, order):
    torch.manual_seed(0)
    energy = small(kind)
    x, y = variables(kind)
    hx, hy = energy.encode(x, y)
    z = some_latent(energy, hx, hy)
    permuted = energy(of_rows(x, order), y[order], of_rows(z, order))
    torch.testing.assert_close(permuted, energy(x, y, z)[order], **ROUNDING)


@energies
def test_no_sample_leaks_into_the_energy_of_another(kind):
    energy = kind.small().double().train()
    hx, hy = (h.detach() for h in energy.encode(*variables(kind)))
    z = some_latent(energy, hx, hy)
    leaves, structure = tree_flatten((hx, hy, z))
    held = [leaf for leaf in leaves if leaf is not None]

    def cost(*parts):
        given = iter(parts)
        return energy.cost(*tree_unflatten([leaf if leaf is None else next(given) for leaf in leaves], structure))

    for jacobian in torch.autograd.functional.jacobian(cost, tuple(held)):
        influence = jacobian.flatten(2).abs().sum(-1)
        assert (influence - influence.diag().diag() == 0).all()


@energies
def test_a_gradient_reaches_every_parameter_that_asks_for_one(kind):
    energy = kind.small().double()
    x, y = variables(kind, 32)
    hx, hy = energy.encode(x, y)
    # Through the codes too, which regularizers read: no distance sees a bias that both of its codes share.
    read = energy.cost(hx, hy, some_latent(energy, hx, hy)).sum() + (hx * normal(*hx.shape, seed=7)).sum()
    read.backward()
    asked = {name: weight.grad for name, weight in energy.named_parameters() if weight.requires_grad}
    assert asked
    assert not [name for name, gradient in asked.items() if gradient is None or not gradient.any()]


@energies
def test_double_precision_is_the_same_energy_as_single(kind):
    energy = kind.small().eval()
    x, y = variables(kind)
    hx, hy = energy.encode(single(x), single(y))
    z = some_latent(energy, hx, hy)
    short = energy.cost(hx, hy, single(z))
    x, y, z = (tree_map_only(torch.Tensor, torch.Tensor.double, single(variable)) for variable in (x, y, z))
    double = energy.double()(x, y, z)
    assert (short.dtype, double.dtype) == (torch.float32, torch.float64)
    # Single precision keeps 7 digits, of which sums over 16 features and three layers cost up to two.
    torch.testing.assert_close(short.double(), double, atol=1e-5, rtol=1e-5)


@energies
def test_what_is_kept_of_x_is_a_row_of_features_for_each_sample(kind):
    energy = small(kind)
    x, _ = variables(kind)
    kept = energy.represent(x)
    assert kept.ndim == 2
    assert len(kept) == 5
    torch.testing.assert_close(energy.represent(of_rows(x, slice(2))), kept[:2], **ROUNDING)


@energies
def test_a_state_dict_carries_the_whole_energy(kind):
    torch.manual_seed(1)
    source = kind.small().double()
    torch.manual_seed(2)
    copy = kind.small().double()
    x, y = variables(kind)
    hx, hy = source.encode(x, y)
    z = some_latent(source, hx, hy)
    assert not torch.equal(copy.eval()(x, y, z), source.eval()(x, y, z))
    copy.load_state_dict(source.state_dict())
    assert torch.equal(copy(x, y, z), source(x, y, z))


@energies
def test_a_step_of_training_leaves_the_weights_that_the_optimiser_holds(kind):
    energy = kind.small()
    before = {name: weight.detach().clone() for name, weight in energy.named_parameters() if weight.requires_grad}
    energy.after_step(0.5)
    assert all(torch.equal(weight, before[name]) for name, weight in energy.named_parameters() if name in before)
