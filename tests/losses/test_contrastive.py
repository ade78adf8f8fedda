"""What holds for every loss that computes its energies in chunks: found by their argument `chunk`."""

import inspect

import pytest
import torch
from conftest import every, normal
from torch import nn

from ebm import FreeEnergy
from ebm.distances import CosineDistance, SquaredDistance
from ebm.energies import JointEmbedding, Predictive

KINDS = [k for k in every("ebm.losses", nn.Module) if "chunk" in inspect.signature(k.values[0]).parameters]
chunked = pytest.mark.parametrize("kind", KINDS)
halves = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])


def of(distance):
    return FreeEnergy(JointEmbedding(nn.Identity(), distance=distance))


def ready(kind, F, *former, **settings):
    """In the midst of training, and held still: one that remembers has seen a batch. As precise as the codes."""
    loss = kind(**settings).to(torch.promote_types(former[0].dtype, torch.float32))
    loss(F, *former)
    return loss.eval()


def value_and_slopes(loss, F, hx, hy):
    hx, hy = hx.clone().requires_grad_(), hy.clone().requires_grad_()
    value = loss(F, hx, hy)
    return value, torch.autograd.grad(value, (hx, hy, *loss.parameters()))


def test_there_are_losses_in_chunks():
    assert {"InfoNCE", "NTXent", "CLIP"} <= {k.id for k in KINDS}


@chunked
@pytest.mark.parametrize("chunk", [1, 3, 7])
@pytest.mark.parametrize("distance", [CosineDistance(), SquaredDistance()], ids=["cosine", "squared"])
def test_in_chunks_value_and_gradient_are_those_of_the_whole(kind, chunk, distance):
    F, codes, former = of(distance), (normal(7, 4), normal(7, 4, seed=1)), (normal(5, 4, seed=2), normal(5, 4, seed=3))
    whole = value_and_slopes(ready(kind, F, *former), F, *codes)
    # The same numbers; sums of 14 of them in another order, over a temperature of 0.07.
    torch.testing.assert_close(
        value_and_slopes(ready(kind, F, *former, chunk=chunk), F, *codes), whole, atol=1e-12, rtol=1e-12
    )


@chunked
def test_in_chunks_the_weights_of_an_energy_have_the_gradient_of_the_whole(kind):
    energy = Predictive.small().double()
    F, x, y = FreeEnergy(energy), normal(6, 8), normal(6, 8, seed=1)
    weights = [weight for weight in energy.parameters() if weight.requires_grad]
    whole, parts = (
        torch.autograd.grad(ready(kind, F, *energy.encode(y, x), chunk=chunk)(F, *energy.encode(x, y)), weights)
        for chunk in (6, 2)
    )
    torch.testing.assert_close(parts, whole, atol=1e-12, rtol=1e-12)
    assert max(gradient.abs().max() for gradient in whole) > 1e-3


@chunked
def test_a_chunk_of_no_rows_is_refused(kind):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        kind(chunk=0)(of(None), normal(4, 3), normal(4, 3, seed=1))


@chunked
@pytest.mark.slow
def test_in_chunks_it_compiles_in_one_piece_to_the_same_numbers(kind):
    F = of(CosineDistance())
    codes, former = (normal(8, 4), normal(8, 4, seed=1)), (normal(8, 4, seed=2), normal(8, 4, seed=3))
    loss = ready(kind, F, *former, chunk=3)
    torch.compiler.reset()  # each loss counts as a recompilation of `forward` else, of which so many are allowed
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    expected = value_and_slopes(loss, F, *codes)
    torch.testing.assert_close(value_and_slopes(compiled, F, *codes), expected, atol=1e-12, rtol=1e-12)
