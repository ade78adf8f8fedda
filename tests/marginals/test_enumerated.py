import math

import pytest
import torch
from conftest import Table, normal
from hypothesis import given
from hypothesis import strategies as st

from ebm import Energy, Enumerated, FreeEnergy, marginalise


class Assigned(Energy):
    """How far y is from the one of K centres that the one-hot z picks."""

    def __init__(self, centres):
        super().__init__()
        self.centres = torch.nn.Parameter(centres)

    def latent(self, hx, hy):
        return hy.new_zeros(*hy.shape[:-1], len(self.centres))

    def cost(self, hx, hy, z=None):
        return (hy - z @ self.centres).square().sum(-1)


def written_out(energy, y, beta):
    distances = (y[:, None] - energy.centres).square().sum(-1)
    return -torch.log(torch.exp(-beta * distances).mean(-1)) / beta


def assigned(k=5, n=7):
    return Assigned(normal(k, 3, seed=1)), normal(n, 3), torch.eye(k, dtype=torch.float64)


@given(beta=st.floats(1e-3, 20))
def test_it_is_the_sum_written_out(beta):
    energy, y, codes = assigned()
    F = FreeEnergy(energy, marginal=Enumerated(beta, codes))
    # Rounding of energies of about ten, and of 1 / beta where that is large.
    torch.testing.assert_close(F(None, y), written_out(energy, y, beta), atol=1e-11, rtol=1e-11)


def test_its_gradients_are_softmin_weights():
    energy, y, codes = assigned()
    y.requires_grad_()
    F = FreeEnergy(energy, marginal=Enumerated(2.0, codes))
    wanted = (energy.centres, y)
    by_autograd = torch.autograd.grad(F(None, y).sum(), wanted)
    torch.testing.assert_close(
        by_autograd, torch.autograd.grad(written_out(energy, y, 2.0).sum(), wanted), atol=1e-12, rtol=1e-12
    )  # rounding


def test_the_measures_differ_by_log_k_over_beta():
    energy, y, codes = assigned()
    mean, total = (FreeEnergy(energy, marginal=Enumerated(3.0, codes, measure)) for measure in ("mean", "sum"))
    torch.testing.assert_close(mean(None, y) - total(None, y), torch.full_like(y[:, 0], math.log(5) / 3))


def test_the_free_energy_lies_between_the_minimum_and_the_mean():
    energy, y, codes = assigned()
    distances = (y[:, None] - energy.centres).square().sum(-1)
    for beta in (1e-2, 1.0, 1e2, 1e6):
        answer = FreeEnergy(energy, marginal=Enumerated(beta, codes)).marginalise(None, y)
        assert answer.value.isfinite().all()
        slack = 1e-12 * distances.amax()  # rounding
        assert (answer.value >= distances.amin(1) - slack).all()
        assert (answer.value <= distances.mean(1) + slack).all()
        assert (answer.value <= distances.amin(1) + math.log(5) / beta + slack).all()
        assert (answer.error == 0).all()


def test_at_infinite_beta_it_is_the_best_candidate():
    energy, y, codes = assigned()
    F = FreeEnergy(energy, marginal=Enumerated(torch.inf, codes))
    assert torch.equal(F(None, y), (y[:, None] - energy.centres).square().sum(-1).amin(1))


def test_pairs_have_a_sum_each():
    class Between(Assigned):
        def latent(self, hx, hy):
            return (hx + hy).new_zeros(*(hx + hy).shape[:-1], len(self.centres))

        def cost(self, hx, hy, z=None):
            return (hy - hx - z @ self.centres).square().sum(-1)

    _, y, codes = assigned()
    x, energy = normal(4, 3, seed=9), Between(normal(5, 3, seed=1))
    pairs = FreeEnergy(energy, marginal=Enumerated(2.0, codes)).pairs(x, y)
    assert pairs.shape == (4, 7)
    flat = (y[None] - x[:, None]).reshape(-1, 3)
    torch.testing.assert_close(pairs.flatten(), written_out(energy, flat, 2.0), atol=1e-12, rtol=1e-12)  # rounding


def test_chunks_change_neither_the_value_nor_the_gradient():
    energy, y, codes = assigned()
    whole, chunked = (FreeEnergy(energy, marginal=Enumerated(2.0, codes, "mean", rows)) for rows in (2**16, 7))
    torch.testing.assert_close(whole(None, y), chunked(None, y), atol=1e-13, rtol=1e-13)  # rounding
    gradients = [torch.autograd.grad(F(None, y).sum(), energy.centres)[0] for F in (whole, chunked)]
    torch.testing.assert_close(*gradients, atol=1e-12, rtol=1e-12)  # rounding of another order of sums


def test_candidates_may_be_a_tree_and_the_energy_need_not_have_a_derivative():
    candidates = {"sign": torch.tensor([-1.0, 1.0, 1.0]), "place": torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])}
    start = {"sign": torch.zeros(4), "place": torch.zeros(4, 2)}
    y = normal(4, 2, dtype=torch.float32)

    def fn(z, y):
        return (y - z["sign"][..., None] * z["place"]).square().sum(-1).round()

    answer = marginalise(fn, start, Enumerated(1.5, candidates, "sum"), given=(y,))
    points = candidates["sign"][:, None] * candidates["place"]
    energies = (y[:, None] - points).square().sum(-1).round()
    torch.testing.assert_close(answer.value, -torch.logsumexp(-1.5 * energies, 1) / 1.5)


def test_without_a_latent_it_is_the_energy():
    energy = Table(normal(4, 4))
    F = FreeEnergy(energy, marginal=Enumerated(2.0, torch.eye(3)))
    hx, hy = energy.codes()
    assert torch.equal(F(hx, hy), energy.cost(hx, hy))
    assert torch.equal(F.pairs(hx, hy), energy.pairs(hx, hy))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"candidates": None}, "are a tensor"),
        ({"candidates": torch.tensor(1.0)}, "are a tensor"),
        ({"candidates": (torch.zeros(2, 1), torch.zeros(3, 1))}, r"\[2, 3\] rows"),
        ({"candidates": torch.zeros(0, 1)}, r"\[0\] rows"),
        ({"candidates": torch.zeros(2, 1), "measure": "max"}, '"mean" or "sum"'),
        ({"candidates": torch.zeros(2, 1), "beta": 0.0}, "beta is positive"),
        ({"candidates": torch.zeros(2, 1), "beta": math.nan}, "beta is positive"),
    ],
)
def test_what_makes_no_sum_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Enumerated(**arguments)


def test_candidates_of_another_shape_than_z_are_refused():
    energy, y, _ = assigned()
    with pytest.raises(ValueError, match=r"parts of shapes \[\(4,\)\], but z of a sample has \[\(5,\)\]"):
        FreeEnergy(energy, marginal=Enumerated(1.0, torch.eye(4)))(None, y)
