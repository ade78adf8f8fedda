"""A batch over several processes: each holds another number of rows, and different ones."""

from functools import cache

import pytest
import torch
import torch.distributed as dist
from conftest import normal
from process_group import on_processes

from ebm.processes import Batch, agreed, alone, gather, mean, several

COUNTS = {1: (5,), 2: (5, 2), 4: (3, 1, 4, 2)}


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def own_rows(counts):
    whole = normal(sum(counts), 3)
    return whole.split(counts)[rank()].clone().requires_grad_()


def gathered(counts):
    rows = own_rows(counts)
    whole = gather(rows)
    (whole * normal(sum(counts), 3, seed=1)).sum().backward()
    return whole.detach(), rows.grad


def averaged(counts):
    rows = own_rows(counts)
    value = mean(rows.square())
    value.sum().backward()
    return value.detach(), rows.grad


def placed(counts):
    batch = Batch.of(own_rows(counts))
    return batch.counts, batch.start, batch.size, batch.own(torch.arange(sum(counts))).tolist()


def drawn():
    return agreed(torch.rand(3)), torch.rand(3)


def apart(counts):
    rows = own_rows(counts)
    with alone():
        within = several(), gather(rows).detach(), mean(rows).detach()
    return within, several()


def twice(counts):
    """The second derivative through a gather: of `|sum of all rows|^2`, which is 2 for every pair of rows."""
    rows = own_rows(counts)
    (slope,) = torch.autograd.grad(gather(rows).sum(0).square().sum(), rows, create_graph=True)
    return torch.autograd.grad(slope.sum(), rows)[0]


def everything(counts):
    fns = (gathered, averaged, placed, apart, twice)
    return {fn.__name__: fn(counts) for fn in fns} | {"drawn": drawn()}


@cache
def on(world):
    """The results of each process by name; starting processes takes longer than all that they do."""
    return on_processes(world, everything, COUNTS[world]) if world > 1 else [everything(COUNTS[world])]


worlds = pytest.mark.parametrize("world", COUNTS)
several_worlds = pytest.mark.parametrize("world", [2, 4])


@worlds
def test_every_process_has_all_rows_in_order_and_the_gradient_of_all(world):
    counts, results = COUNTS[world], [result["gathered"] for result in on(world)]
    for whole, _ in results:
        assert torch.equal(whole, normal(sum(counts), 3))
    slopes = torch.cat([slope for _, slope in results])
    torch.testing.assert_close(slopes / world, normal(sum(counts), 3, seed=1))


@worlds
def test_the_mean_is_that_of_all_rows_however_unequal_the_parts(world):
    counts, results = COUNTS[world], [result["averaged"] for result in on(world)]
    whole = normal(sum(counts), 3)
    for value, _ in results:
        torch.testing.assert_close(value, whole.square().mean(0))
    slopes = torch.cat([slope for _, slope in results])
    torch.testing.assert_close(slopes / world, 2 * whole / len(whole))


@worlds
def test_a_process_knows_which_rows_are_its_own(world):
    counts = COUNTS[world]
    for rank, result in enumerate(on(world)):
        found, start, size, own = result["placed"]
        assert found == counts
        assert size == sum(counts)
        assert own == list(range(start, start + counts[rank]))


@worlds
def test_a_gather_can_be_differentiated_twice(world):
    slopes = torch.cat([result["twice"] for result in on(world)])
    # Each process differentiates the same number, which makes the sum over processes that many times as large.
    torch.testing.assert_close(slopes / world, torch.full_like(slopes, 2.0 * sum(COUNTS[world])))


@several_worlds
def test_what_was_drawn_is_agreed_on_and_what_was_not_is_drawn_by_each(world):
    agreements, draws = zip(*(result["drawn"] for result in on(world)), strict=True)
    assert all(torch.equal(agreement, agreements[0]) for agreement in agreements)
    assert len({tuple(draw.tolist()) for draw in draws}) == world


@several_worlds
def test_within_alone_a_process_sees_its_own_rows_and_nothing_else(world):
    counts = COUNTS[world]
    for rank, result in enumerate(on(world)):
        (shared, rows, average), after = result["apart"]
        own = normal(sum(counts), 3).split(counts)[rank]
        assert shared is False
        assert torch.equal(rows, own)
        torch.testing.assert_close(average, own.mean(0))
        assert after is True
