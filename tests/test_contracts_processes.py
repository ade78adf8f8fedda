"""Every loss and regularizer over several processes, with other rows on each, is that of one process with all rows.

Found by listing `losses/` and `regularizers/`: a file dropped there is tested by being there.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
import torch.distributed as dist
from conftest import every, normal
from latents import made
from process_group import on_processes
from torch import nn

from ebm import FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding
from ebm.processes import Batch
from ebm.regularizers import InverseDynamics

# How the same 12 rows lie over 1, 2 and 4 processes: in unequal parts, as the last batch of an epoch does.
PARTS = {1: (12,), 2: (7, 5), 4: (2, 5, 1, 4)}
FEATURES = {"fewer rows than features": 20, "more rows than features": 4}
# Not those of a density, whose noise is each process's own: their contract is in test_contracts_density.
CLASSES = [
    *every("ebm.losses", nn.Module, without="ebm.losses.density"),
    *every("ebm.regularizers", nn.Module),
]


def encoder(features):
    layer = nn.Linear(6, features).double()
    with torch.no_grad():
        layer.weight.copy_(normal(features, 6, seed=1) / 5)  # of a spread that every hinge notices
        layer.bias.copy_(normal(features, seed=2))
    return layer


def term(kind, encode, x, y):
    """The value of a term on the codes of some rows, each process with codes of its own rows alone."""
    hx, hy = encode(x), encode(y)
    if kind.__module__.startswith("ebm.regularizers.trajectories"):
        torch.manual_seed(0)  # a network that is part of a term is the same on all processes
        fn = (kind(hx.shape[1], 2) if kind is InverseDynamics else kind()).double()
        return fn, fn(torch.stack([hx, hy], 1), (x - y)[:, None, :2])
    fn = made(kind).double()
    if kind.__module__.startswith("ebm.regularizers"):
        return fn, fn(hx, hy)
    F = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance()))
    fn(F, hy.detach(), hx.detach())  # one that remembers former batches has seen one, the same on all processes
    return fn, fn(F, hx, hy)


def value_and_gradient(kind, features, parts):
    """What training would see: the value, and the gradient after its average over processes."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    torch.manual_seed(rank)  # what has to be one draw for all is that of the first process
    x, y = (normal(sum(parts), 6, seed=seed).split(parts)[rank] for seed in (3, 4))
    encode = encoder(features)
    fn, value = term(kind, encode, x, x + y)  # so far off that some right answers are not the nearest
    value.backward()
    gradients = [
        p.grad if p.grad is not None else torch.zeros_like(p) for p in (*encode.parameters(), *fn.parameters())
    ]
    assert Batch.of(x).counts == parts
    for gradient in gradients if world > 1 else []:
        dist.all_reduce(gradient)
    return value.detach(), [gradient / world for gradient in gradients]


def every_value_and_gradient(parts):
    kinds = [parameter.values[0] for parameter in CLASSES]
    return {(kind.__name__, case): value_and_gradient(kind, n, parts) for kind in kinds for case, n in FEATURES.items()}


@cache
def results(world):
    """Of all classes at once: to start processes takes longer than all that they do."""
    if world == 1:
        return [every_value_and_gradient(PARTS[1])]
    return on_processes(world, every_value_and_gradient, PARTS[world])


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("case", FEATURES)
@pytest.mark.parametrize("kind", CLASSES)
def test_over_processes_value_and_gradient_are_those_of_the_whole_batch(kind, case, world):
    (alone,) = results(1)
    value, gradients = alone[kind.__name__, case]
    assert max(gradient.abs().max() for gradient in gradients) > 1e-6
    for result in results(world):
        found, slopes = result[kind.__name__, case]
        # The same sums in another order, in double precision.
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-12)
        for slope, gradient in zip(slopes, gradients, strict=True):
            torch.testing.assert_close(slope, gradient, rtol=1e-6, atol=1e-9)
