"""What holds for every loss, found by listing `losses/`: a file dropped there is tested by being there."""

import pytest
import torch
from conftest import Shifted, Table, every, normal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.autograd import gradcheck

from ebm import LBFGS, Energy, FreeEnergy
from ebm.distances import CosineDistance, Distance
from ebm.energies import JointEmbedding, LatentDecoder

distances = pytest.mark.parametrize("distance", every("ebm.distances", Distance))
seeds = st.integers(0, 2**16)

# By their formulas: these compare energies with energies alone, and these look at no wrong answer.
OF_DIFFERENCES = {
    *("InfoNCE", "NTXent", "Triplet"),
    *("Perceptron", "Hinge", "LogLoss", "LVQ2", "MinimumClassificationError"),
    *("NegativeLogLikelihood", "MinimumEmpiricalError"),
    *("CLIP", "DecoupledContrastive", "WeightedDecoupledContrastive", "SupervisedContrastive", "MomentumContrast"),
}
NEEDS_NO_ALTERNATIVES = {"PushDown"}
# These have wrong answers without another sample in the batch: a queue of those of former batches.
REMEMBERS = {"MomentumContrast"}
# These do not always pull: a pair far nearer than the others has a negative weight.
PUSHES_RIGHT_ANSWERS_TOO = {"WeightedDecoupledContrastive"}
# These do not always push: the similarity of a wrong answer is to be zero, and is brought up to that from below.
PULLS_WRONG_ANSWERS_TOO = {"SpectralContrastive"}

# Losses of a density look at y alone, and keep contracts of their own.
KINDS = every("ebm.losses", nn.Module, without="ebm.losses.density")

losses = pytest.mark.parametrize("kind", KINDS)
contrastive = pytest.mark.parametrize("kind", [k for k in KINDS if k.id not in NEEDS_NO_ALTERNATIVES])
of_differences = pytest.mark.parametrize("kind", [k for k in KINDS if k.id in OF_DIFFERENCES])
of_one_batch = pytest.mark.parametrize("kind", [k for k in KINDS if k.id not in NEEDS_NO_ALTERNATIVES | REMEMBERS])
pulling = pytest.mark.parametrize("kind", [k for k in KINDS if k.id not in PUSHES_RIGHT_ANSWERS_TOO])
pushing = pytest.mark.parametrize("kind", [k for k in KINDS if k.id not in PULLS_WRONG_ANSWERS_TOO])

# The same sums in another order: a few dozen roundings of 2e-16, divided by a temperature of 0.1.
ROUNDING = {"atol": 1e-12, "rtol": 1e-12}


class OfTheSum(Energy):
    """Another energy, of y alone, with x + y in the place of y: it depends on x too."""

    def __init__(self, energy):
        super().__init__()
        self.energy = energy

    def latent(self, hx, hy):
        return self.energy.latent(None, hx + hy)

    def cost(self, hx, hy, z=None):
        return self.energy.cost(None, hx + hy, z)


def of_distance(distance):
    """The energy that is a distance of the codes and nothing more."""
    return FreeEnergy(JointEmbedding(nn.Identity(), distance=distance))


def matching(table):
    """Where the energies of right answers stand: each code of one side with its own of the other."""
    n = len(table.energies) // 2
    return torch.eye(2 * n, dtype=torch.bool).roll(n, 0)  # row i has column i + n, and row i + n column i


def some_table(n=4, seed=0):
    """Energies between 0 and 2, since one loss is for distances alone, and a margin is of their scale."""
    return Table(2 * torch.sigmoid(normal(2 * n, 2 * n, seed=seed)))


def ready(kind, F, hx, hy):
    """A loss in the midst of training: one that remembers has seen a batch, these codes the other way round.

    In evaluation mode, so that it is the same function at each call.
    """
    loss = kind()
    loss(F, hy.detach(), hx.detach())
    return loss.eval()


def ready_for(kind, table):
    return ready(kind, FreeEnergy(table), *table.codes())


def slopes(loss, table):
    return torch.autograd.grad(loss(FreeEnergy(table), *table.codes()), table.energies)[0]


@losses
@distances
def test_a_loss_is_one_finite_number_with_a_gradient_for_both_codes(kind, distance):
    hx, hy = normal(6, 4).requires_grad_(), normal(6, 4, seed=1).requires_grad_()
    F = of_distance(distance())
    value = ready(kind, F, hx, hy)(F, hx, hy)
    assert value.shape == ()
    assert value.isfinite()
    assert all(gradient.abs().max() > 1e-6 for gradient in torch.autograd.grad(value, (hx, hy)))


@losses
@distances
def test_the_gradient_of_a_loss_is_that_of_finite_differences(kind, distance):
    F = of_distance(distance())
    hx, hy = normal(5, 4, seed=2), normal(5, 4, seed=3)
    loss = ready(kind, F, normal(5, 4, seed=4), normal(5, 4, seed=5))
    assert gradcheck(lambda a, b: loss(F, a, b), (hx.requires_grad_(), hy.requires_grad_()))


@pulling
@given(seed=seeds)
def test_a_loss_falls_when_the_energy_of_the_data_falls(kind, seed):
    table = some_table(seed=seed)
    loss = ready_for(kind, table)
    right = matching(table)
    lower = Table(table.energies.detach() - 1e-6 * right)
    assert (slopes(loss, table)[right] >= 0).all()
    assert loss(FreeEnergy(lower), *lower.codes()) <= loss(FreeEnergy(table), *table.codes())


@pushing
@given(seed=seeds)
def test_a_loss_never_rises_when_the_energy_of_a_wrong_answer_does(kind, seed):
    table = some_table(seed=seed)
    loss = ready_for(kind, table)
    assert (slopes(loss, table)[~matching(table)] <= 0).all()


@losses
def test_a_loss_pulls_right_answers_down(kind):
    table = some_table()
    assert slopes(ready_for(kind, table), table)[matching(table)].max() > 0


@contrastive
def test_a_contrastive_loss_pushes_wrong_answers_up(kind):
    table = some_table()
    assert slopes(ready_for(kind, table), table)[~matching(table)].min() < 0


@of_differences
@given(seed=seeds, shift=st.floats(-10, 10))
def test_a_loss_of_energy_differences_does_not_see_a_constant(kind, seed, shift):
    table = some_table(seed=seed)
    loss = ready_for(kind, table)
    value, shifted = (loss(FreeEnergy(energy), *table.codes()) for energy in (table, Shifted(table, shift)))
    # Adding 10 rounds energies to 1e-15, and a temperature of 0.1 makes that ten times as much.
    torch.testing.assert_close(shifted, value, atol=1e-12, rtol=1e-12)


@losses
@distances
@given(order=st.permutations(range(5)))
def test_the_order_of_the_batch_is_nothing_to_a_loss(kind, distance, order):
    F = of_distance(distance())
    hx, hy = normal(5, 4), normal(5, 4, seed=1)
    loss = ready(kind, F, hx, hy)
    torch.testing.assert_close(loss(F, hx[order], hy[order]), loss(F, hx, hy), **ROUNDING)


@losses
@distances
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("collapse", ["two samples alike", "two views alike", "all at one point", "all at zero"])
def test_collapsed_codes_have_a_finite_loss_and_gradient(kind, distance, dtype, collapse):
    hx, hy = normal(6, 4, dtype=dtype), normal(6, 4, seed=1, dtype=dtype)
    hx, hy = {
        "two samples alike": (hx[[0, 0, 2, 3, 4, 5]], hy[[0, 0, 2, 3, 4, 5]]),
        "two views alike": (hx, hx.clone()),
        "all at one point": (hx[:1].expand(6, 4).clone(), hx[:1].expand(6, 4).clone()),
        "all at zero": (torch.zeros_like(hx), torch.zeros_like(hy)),
    }[collapse]
    F = of_distance(distance())
    value = ready(kind, F, hx, hy)(F, hx.requires_grad_(), hy.requires_grad_())
    value.backward()
    assert value.isfinite()
    assert hx.grad.isfinite().all()
    assert hy.grad.isfinite().all()


def value_and_slopes(loss, F, hx, hy):
    hx, hy = hx.detach().clone().requires_grad_(), hy.detach().clone().requires_grad_()
    value = loss(F, hx, hy)
    return value.detach(), torch.autograd.grad(value, (hx, hy))


@losses
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
@pytest.mark.parametrize("std", [1, 4, 20])
def test_half_precision_codes_have_the_loss_and_the_gradient_of_their_values(kind, dtype, std):
    F = of_distance(CosineDistance())
    x = std * normal(64, 32)
    hx, hy = x.to(dtype), (x + std * normal(64, 32, seed=1)).to(dtype)
    value, slopes = value_and_slopes(ready(kind, F, hx, hy), F, hx, hy)
    exact, references = value_and_slopes(ready(kind, F, hx.double(), hy.double()), F, hx.double(), hy.double())
    assert value.item() == pytest.approx(exact.item(), rel=1e-4)
    for slope, reference in zip(slopes, references, strict=True):
        # The slope of a code has its dtype; so rounded is the exact one too. And float16 has nothing below 6e-8.
        error = (slope.double() - reference.to(dtype).double()).norm()
        assert error <= 1e-3 * reference.norm() + 6e-8 * slope.numel() ** 0.5


@losses
def test_a_loss_compiles_whole_with_its_derivative(kind):
    F, codes = of_distance(CosineDistance()), (normal(8, 4), normal(8, 4, seed=1))
    loss = ready(kind, F, *codes)
    torch.compiler.reset()  # each loss counts as a recompilation of `forward` else, of which so many are allowed
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    expected = value_and_slopes(loss, F, *codes)
    torch.testing.assert_close(value_and_slopes(compiled, F, *codes), expected, atol=1e-12, rtol=1e-12)


@of_one_batch
def test_a_batch_of_one_has_no_wrong_answers_and_is_refused_by_its_size(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__} needs at least 2 samples.* a batch of 1:"):
        kind()(of_distance(None), normal(1, 4), normal(1, 4, seed=1))


@contrastive
def test_codes_whose_rows_do_not_match_are_refused_by_their_numbers(kind):
    with pytest.raises(ValueError, match="got 4 rows of hx and 3 of hy"):
        kind()(of_distance(None), normal(4, 4), normal(3, 4))


@losses
def test_a_loss_sees_only_the_free_energy(kind):
    """An energy with a latent, and a table of its free energies, are the same to it: in value and in gradient."""
    F = FreeEnergy(OfTheSum(LatentDecoder.small().double()), LBFGS(tolerance=1e-8))
    hx, hy = normal(4, 8), normal(4, 8, seed=1)
    codes = torch.cat([hx, hy])
    free = F.pairs(codes, codes)
    table = Table(free)
    loss, of_table = ready(kind, F, hx, hy), ready_for(kind, table)
    value, weights = loss(F, hx, hy), list(F.parameters())
    # Minima to a gradient of 1e-8 have energies to 1e-15 and, by the envelope theorem, slopes to 1e-8.
    torch.testing.assert_close(value, of_table(FreeEnergy(table), *table.codes()), atol=1e-9, rtol=1e-9)
    chained = torch.autograd.grad(free, weights, slopes(of_table, table))
    torch.testing.assert_close(torch.autograd.grad(value, weights), chained, atol=1e-6, rtol=1e-6)
    assert max(gradient.abs().max() for gradient in chained) > 1e-3
