import math

import pytest
import torch
from conftest import Table, every, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ebm import LBFGS, Ball, Box, Energy, FreeEnergy, GradientDescent, Langevin
from ebm.distances import SquaredDistance
from ebm.energies import JointEmbedding, LatentDecoder
from ebm.losses import FromBatch, Given, Hinge, LogLoss, MostOffending, Sampled
from ebm.losses.wrong_answers import WrongAnswers
from ebm.networks import MLP


class Bowl(Energy):
    """`(y - c)' diag(stiffness) (y - c)` over all features of y, with `c = x`, or zero where there is no x."""

    def __init__(self, *stiffness):
        super().__init__()
        self.stiffness = nn.Parameter(torch.tensor(stiffness or (1.0,), dtype=torch.float64))

    def cost(self, hx, hy, z=None):
        offset = hy if hx is None else hy - hx
        return (self.stiffness.to(hy.dtype) * offset.square()).reshape(len(offset), -1).sum(1)


class Rough(Energy):
    """A random network of x and y, with many valleys, in a bowl that keeps them near."""

    def __init__(self, features):
        super().__init__()
        self.network = MLP([1 + features, 48, 48, 1], activation=nn.Tanh).double()
        with torch.no_grad():
            self.network.layers[0].weight.mul_(4)

    def cost(self, hx, hy, z=None):
        return 5 * self.network(torch.cat([hx, hy], -1)).squeeze(-1) + hy.square().sum(-1) / 4


ALL = {
    "FromBatch": FromBatch(),
    "Given": Given(normal(3, 2)),
    "Sampled": Sampled(steps=2),
    "MostOffending": MostOffending(1.0, starts=2),
}


def test_all_kinds_are_looked_at():
    assert {kind.id for kind in every("ebm.losses.wrong_answers", WrongAnswers)} == ALL.keys()


@pytest.mark.parametrize("name", ALL)
def test_rows_that_do_not_match_are_refused_by_their_numbers(name):
    with pytest.raises(ValueError, match="Hinge needs codes whose rows match, got 3 rows of hx and 4 of hy"):
        Hinge(negatives=ALL[name])(FreeEnergy(Bowl()), normal(3, 2), normal(4, 2))


@pytest.mark.parametrize("name", ["Given", "Sampled", "MostOffending"])
def test_one_sample_is_enough_where_answers_come_from_elsewhere_and_so_is_no_x(name):
    value = LogLoss(negatives=ALL[name])(FreeEnergy(Bowl()), None, normal(1, 2))
    assert value.isfinite()
    assert value.requires_grad


def test_the_batch_has_no_wrong_answers_where_there_is_no_x():
    with pytest.raises(ValueError, match=r"Hinge has no x.*set `negatives` to Sampled or MostOffending"):
        Hinge()(FreeEnergy(Bowl()), None, normal(4, 2))


def test_gradients_reach_the_codes_of_the_batch_and_answers_that_were_found_are_taken_as_they_are():
    F = FreeEnergy(JointEmbedding(nn.Identity(), distance=SquaredDistance()))
    hx, hy = normal(3, 2), normal(3, 2, seed=1).requires_grad_()
    found = MostOffending(0.5, starts=2)
    assert FromBatch()(Hinge(), F, hx, hy).wrong.requires_grad
    assert not found(Hinge(), F, hx, hy).wrong.requires_grad
    assert not Sampled(steps=2)(Hinge(), F, hx, hy).wrong.requires_grad


# Given


@given(order=st.permutations(range(5)))
def test_a_list_leaves_out_the_right_answer_in_any_order(order):
    candidates = normal(5, 2)[list(order)]
    hx, hy = normal(5, 2, seed=1), normal(5, 2)
    F = FreeEnergy(JointEmbedding(nn.Identity(), distance=SquaredDistance()))
    by_list, by_batch = Given(candidates)(Hinge(), F, hx, hy), FromBatch()(Hinge(), F, hx, hy)
    assert by_list.wrong.isposinf().sum(1).tolist() == [1] * 5
    torch.testing.assert_close(by_list.wrong.sort().values, by_batch.wrong.sort().values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_list.right, by_batch.right, rtol=1e-12, atol=1e-12)


def test_a_list_in_which_the_right_answer_is_not_is_all_wrong():
    energies = Given(normal(3, 2))(Hinge(), FreeEnergy(Bowl()), None, normal(4, 2, seed=1))
    assert energies.wrong.shape == (4, 3)
    assert energies.wrong.isfinite().all()


def test_a_list_may_be_of_whole_numbers():
    class Labels(Energy):
        def cost(self, hx, hy, z=None):
            return (hx[..., 0] - hy).square()

    energies = Given(torch.arange(4))(Hinge(), FreeEnergy(Labels()), torch.tensor([[1.0], [2.5]]), torch.tensor([1, 0]))
    assert energies.right.tolist() == [0, 2.5**2]
    assert energies.wrong.tolist() == [[1, math.inf, 1, 4], [math.inf, 1.5**2, 0.5**2, 0.5**2]]


@pytest.mark.parametrize("candidates", [torch.tensor(1.0), torch.ones(1, 2)])
def test_a_list_of_fewer_than_two_is_refused(candidates):
    with pytest.raises(ValueError, match=r"candidates are two values of y at least, of shape \(K, ...\)"):
        Given(candidates)


def test_a_list_of_another_shape_than_the_codes_is_refused():
    with pytest.raises(ValueError, match=r"so candidates are of shape \('K', 3\), not \(3, 2\)"):
        Hinge(negatives=ALL["Given"])(FreeEnergy(Bowl()), None, normal(4, 3))


# Sampled


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_samples_are_of_the_density_that_the_energy_stands_for(temperature):
    hx, hy = normal(2, 1), normal(2, 1, seed=1)
    drawn = Sampled(steps=60, count=4000, temperature=temperature).answers(FreeEnergy(Bowl(0.5)), hx, hy)
    assert drawn.shape == (4000, 2, 1)
    # exp(-|y - x|^2 / 2T) has the variance T: four standard errors of 4,000 draws.
    error = 4 * math.sqrt(temperature / 4000)
    torch.testing.assert_close(drawn.mean(0), hx, rtol=0, atol=error)
    torch.testing.assert_close(drawn.var(0), torch.full_like(hx, temperature), rtol=4 * math.sqrt(2 / 4000), atol=0)


def test_samples_start_from_noise_or_from_the_right_answer():
    F, hy = FreeEnergy(Bowl()), 5 + normal(200, 2)
    still = Langevin(step_size=1e-12)
    near = Sampled(still, steps=1, noise=0.0, from_data=True).answers(F, None, hy)[0]
    torch.testing.assert_close(near, hy, rtol=0, atol=1e-4)
    noise = Sampled(still, steps=1, noise=0.5).answers(F, None, hy)[0]
    assert noise.std().item() == pytest.approx(0.5, rel=0.2)  # four standard errors of 400 numbers
    around = Sampled(still, steps=1, noise=0.5, from_data=True).answers(F, None, hy)[0] - hy
    assert around.std().item() == pytest.approx(0.5, rel=0.2)
    assert around.mean().abs() < 0.1


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"count": 0}, {"noise": -1.0}, {"noise": math.inf}])
def test_samples_need_steps_chains_and_finite_noise(wrong):
    with pytest.raises(ValueError, match="at least one step and one chain"):
        Sampled(**wrong)


# MostOffending


def lowest_on_grid(F, x, y, distance, within=None):
    """The lowest energy beyond the distance, on a grid of the plane or line and on the circle around y."""
    span = torch.linspace(-4, 4, 4001 if len(y) == 1 else 201, dtype=y.dtype)
    points = torch.stack(torch.meshgrid(*[span] * len(y), indexing="ij"), -1).flatten(0, -2)
    turn = torch.linspace(0, 2 * math.pi, 1001, dtype=y.dtype)
    circle = torch.stack([turn.cos(), turn.sin()], -1) if len(y) == 2 else torch.tensor([[-1.0], [1.0]])
    points = torch.cat([points, y + (1 + 1e-9) * distance * circle])
    points = points[torch.linalg.vector_norm(points - y, dim=-1) >= distance]
    if within is not None:
        points = points[(within.project(points) == points).all(-1)]
    with torch.no_grad():
        return F(x.expand(len(points), -1), points).min()


@pytest.mark.parametrize("within", [None, Box(-2.0, 2.0)], ids=["anywhere", "in a box"])
@pytest.mark.parametrize("features", [1, 2])
def test_the_most_offending_answer_is_the_lowest_of_a_grid(features, within):
    F = FreeEnergy(Rough(features))
    hx, hy = normal(10, 1), normal(10, features, seed=1).clamp(-2, 2)
    answers, found = MostOffending(0.5, within=within, starts=32).answers(F, hx, hy)
    lowest = torch.stack([lowest_on_grid(F, x, y, 0.5, within) for x, y in zip(hx, hy, strict=True)])
    assert found.all()
    # A grid misses the valley by half of its width; above it is what 32 starts may miss in 1 of 10 rough landscapes.
    gap = (F(hx, answers) - lowest).detach()
    assert (gap < 1e-4).sum() >= 9
    assert gap.min() > -0.05


def test_around_a_right_answer_at_the_bottom_it_lies_at_the_distance_the_softest_way():
    hy = normal(20, 2)
    F = FreeEnergy(Bowl(1.0, 9.0))
    answers, found = MostOffending(0.3).answers(F, hy, hy)
    assert found.all()
    offset = (answers - hy).abs()
    torch.testing.assert_close(offset, torch.tensor([[0.3, 0.0]]).double().expand(20, 2), rtol=0, atol=1e-4)
    right, wrong, _ = MostOffending(0.3)(Hinge(), F, hy, hy)
    torch.testing.assert_close(wrong[:, 0], right + 0.3**2, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@settings(max_examples=15)  # a search each
@given(
    shape=st.sampled_from([(), (1,), (5,), (2, 3, 4)]),
    distance=st.floats(1e-2, 10),
    far=st.sampled_from([0.0, 1.0, 100.0]),
    seed=st.integers(0, 2**16),
)
def test_every_answer_obeys_the_distance_to_the_last_bit(dtype, shape, distance, far, seed):
    hy = far + normal(6, *shape, seed=seed, dtype=dtype)
    answers, found = MostOffending(distance, LBFGS(steps=10), starts=2).answers(FreeEnergy(Bowl()), hy, hy)
    lengths = torch.linalg.vector_norm((answers - hy).reshape(6, -1), dim=-1)
    assert found.all()
    assert (lengths >= distance).all()
    # In a bowl around the right answer no wrong one is better than those at the distance.
    torch.testing.assert_close(lengths, torch.full_like(lengths, distance), rtol=1e-3, atol=1e-4 * (1 + far))


def test_where_the_distance_leaves_no_room_within_the_constraint_there_is_no_wrong_answer():
    hx, hy = torch.zeros(2, 1), torch.tensor([[0.0], [0.9]])
    negatives = MostOffending(1.2, within=Box(-1.0, 1.0))
    answers, found = negatives.answers(FreeEnergy(Bowl()), hx, hy)
    assert found.tolist() == [False, True]
    assert -1 <= answers[1] <= -0.3
    energies = negatives(Hinge(), FreeEnergy(Bowl()), hx, hy)
    assert energies.wrong[0].isposinf()
    assert energies.wrong[1].item() == pytest.approx(0.3**2, rel=1e-4)  # a little beyond, in single precision
    assert Hinge(negatives=negatives)(FreeEnergy(Bowl()), hx, hy).isfinite()


def test_a_ball_may_keep_answers_too():
    F, hy = FreeEnergy(Bowl()), torch.tensor([[0.8, 0.0]])
    answers, found = MostOffending(0.5, within=Ball(1.0)).answers(F, torch.tensor([[3.0, 0.0]]), hy)
    assert found.all()
    assert torch.linalg.vector_norm(answers) <= 1
    assert torch.linalg.vector_norm(answers - hy) >= 0.5


def test_it_is_found_for_an_energy_whose_latent_is_inferred_too():
    F = FreeEnergy(LatentDecoder(MLP([1, 16, 2], activation=nn.Tanh).double(), 1, strength=0.1), LBFGS(tolerance=1e-6))
    hy = normal(4, 2)
    loss = Hinge(negatives=MostOffending(0.5, GradientDescent(rate=0.1, steps=50), starts=4))
    value = loss(F, None, hy)
    value.backward()
    answers, found = loss.negatives.answers(F, None, hy)
    assert found.all()
    assert (F(None, answers) < F(None, hy + torch.tensor([0.5, 0.0]).double()) + 1e-3).all()
    assert all(parameter.grad.isfinite().all() for parameter in F.parameters())


@pytest.mark.parametrize("name", ["Sampled", "MostOffending"])
def test_a_search_leaves_no_gradient_and_is_in_single_precision_under_autocast(name):
    class Watched(Bowl):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.seen = []

        def cost(self, hx, hy, z=None):
            self.seen.append(torch.is_autocast_enabled("cpu"))
            return self.layer(hy).square().sum(-1).float()

    F = FreeEnergy(Watched())
    with torch.autocast("cpu", torch.bfloat16):
        answers = ALL[name].answers(F, None, normal(4, 2, dtype=torch.bfloat16))
    answers = answers[0] if isinstance(answers, tuple) else answers
    assert answers.dtype == torch.float32
    assert not answers.requires_grad
    assert not any(F.energy.seen)
    assert all(parameter.grad is None for parameter in F.parameters())


@pytest.mark.parametrize("wrong", [{"distance": 0.0}, {"distance": math.inf}, {"starts": 0}, {"spread": 0.0}])
def test_a_search_needs_a_distance_a_start_and_a_spread(wrong):
    with pytest.raises(ValueError, match="a distance and a spread are positive and finite, and starts at least 1"):
        MostOffending(**{"distance": 1.0, **wrong})


def test_a_table_of_energies_tells_the_same_by_list_and_by_batch():
    table = Table(normal(8, 8))
    hx, hy = table.codes()
    values = [loss(FreeEnergy(table), hx, hy) for loss in (Hinge(), Hinge(negatives=Given(hy)))]
    torch.testing.assert_close(*values, rtol=1e-12, atol=1e-12)
