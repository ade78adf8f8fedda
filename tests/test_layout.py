from typing import NamedTuple

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._pytree import tree_flatten, tree_map

from ebm import LBFGS, minimize
from ebm.layout import Layout, batch_of, check_start, given_rows

events = st.lists(st.lists(st.integers(1, 3), max_size=2).map(tuple), min_size=1, max_size=4)
batches = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)


class Pair(NamedTuple):
    """A tree with names."""

    code: torch.Tensor
    rest: dict


def nested(leaves):
    """Leaves in trees of several kinds, nested as far as there are leaves."""
    return leaves[0] if len(leaves) == 1 else ({"first": leaves[0]}, [nested(leaves[1:])])


@given(events=events, batch=batches, dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_a_tree_comes_back_from_its_rows_bit_for_bit(events, batch, dtype):
    tree = nested([normal(*batch, *event, seed=i, dtype=dtype) for i, event in enumerate(events)])
    layout = Layout.of(tree, torch.Size(batch))
    rows = layout.rows(tree)
    assert rows.shape == (torch.Size(batch).numel(), sum(torch.Size(event).numel() for event in events))
    assert rows.dtype == torch.promote_types(dtype, torch.float32)
    back = layout.tree(rows, batch)
    assert tree_flatten(back)[1] == tree_flatten(tree)[1]
    for one, other in zip(tree_flatten(back)[0], tree_flatten(tree)[0], strict=True):
        assert one.dtype == dtype
        assert torch.equal(one, other)
    # Some of the rows are a batch of one axis.
    some = layout.tree(rows[:1])
    assert all(leaf.shape == (len(rows[:1]), *event) for leaf, event in zip(tree_flatten(some)[0], events, strict=True))


TREES = {
    "a tuple": lambda a, b, c: (a, b, c),
    "a list in a dict": lambda a, b, c: {"first": a, "others": [b, c]},
    "a named tuple": lambda a, b, c: Pair(a, {"b": b, "c": (c,)}),
}


@pytest.mark.parametrize("build", TREES.values(), ids=TREES)
@pytest.mark.parametrize("batch", [(5,), (2, 3), (1, 2, 1)], ids=str)
def test_any_tree_of_latents_is_solved_for_and_comes_back_as_it_went_in(build, batch):
    targets = build(normal(*batch, 3, seed=1), normal(*batch, seed=2), normal(*batch, 2, 2, seed=3))

    def fn(z, targets):
        lead = lead_of(z)
        parts = zip(tree_flatten(z)[0], tree_flatten(targets)[0], strict=True)
        return sum((one - other).square().reshape(*lead, -1).sum(-1) for one, other in parts)

    def lead_of(z):  # some of the rows, or all of them in their own axes
        first = tree_flatten(z)[0][0]
        return first.shape[:1] if first.ndim == 2 else batch

    for given_ in ((targets,), None):
        held = fn if given_ else lambda z: fn(z, targets)
        answer = minimize(held, tree_map(torch.zeros_like, targets), LBFGS(tolerance=1e-8), given=given_)
        assert answer.converged.all()
        assert answer.energy.shape == answer.status.shape == batch
        assert type(answer.z) is type(targets)
        for one, other in zip(tree_flatten(answer.z)[0], tree_flatten(targets)[0], strict=True):
            # A gradient of 1e-8 over a curvature of 2.
            torch.testing.assert_close(one, other, atol=1e-8, rtol=0)


@pytest.mark.parametrize("lead", [(2, 3), (1, 3), (2, 1), (1, 1)], ids=str)
def test_what_is_held_is_broadcast_to_the_batch_whatever_it_holds(lead):
    weights = normal(*lead, 4, seed=1).exp()
    labels = (10 * normal(*lead, seed=2)).long().remainder(4)
    keep = normal(*lead, 4, seed=3) > 0

    def fn(z, held, factor):
        targets = torch.nn.functional.one_hot(held["labels"], 4) + held["keep"]
        return factor * (held["weights"] * (z - targets).square()).sum(-1)

    start = torch.zeros(2, 3, 4, dtype=torch.float64)
    given_ = ({"weights": weights, "labels": labels, "keep": keep}, 2.0)  # a number is for all
    answer = minimize(fn, start, LBFGS(tolerance=1e-8), given=given_).raise_if_failed()
    expected = (torch.nn.functional.one_hot(labels, 4) + keep).double().expand(2, 3, 4)
    torch.testing.assert_close(answer.z, expected, atol=1e-6, rtol=0)  # 1e-8 over weights of at least 0.05


@given(batch=batches, seed=st.integers(0, 99))
def test_the_rows_of_what_is_held_are_those_of_the_batch(batch, seed):
    flags = normal(len(batch), seed=seed) > 0
    lead = [1 if flag else size for flag, size in zip(flags.tolist(), batch, strict=True)]
    held = normal(*lead, 2, seed=seed)
    (rows,) = given_rows((held,), torch.Size(batch))
    assert torch.equal(rows, held.expand(*batch, 2).reshape(torch.Size(batch).numel(), 2))


@pytest.mark.parametrize("shape", [(3, 5), (5,), (), (8, 5)], ids=str)
def test_what_has_no_row_for_each_sample_is_refused_before_the_energy_fails_on_it(shape):
    with pytest.raises(ValueError, match=r"begins with the axes \(4,\) of the batch, .* belongs in the function"):
        minimize(lambda z, y: (z - y).square().sum(-1), torch.zeros(4, 5), given=(torch.zeros(shape),))


def test_what_fits_the_first_axis_of_a_batch_but_not_the_second_is_refused():
    with pytest.raises(ValueError, match=r"the axes \(4, 2\) of the batch, but one is of shape \(4, 3\)"):
        minimize(lambda z, y: z.square().sum(-1) + 0 * y.sum(), torch.zeros(4, 2, 5), given=(torch.zeros(4, 3),))


@pytest.mark.parametrize("held", [torch.ones(4, 5), [torch.ones(4, 5)], {"y": torch.ones(4, 5)}], ids=type)
def test_what_is_held_is_a_tuple(held):
    with pytest.raises(ValueError, match=rf"`given` is a tuple .* such as `\(y,\)`, not a {type(held).__name__}"):
        minimize(lambda z, y: (z - y).square().sum(-1), torch.zeros(4, 5), given=held)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (torch.zeros(4, 0), "nothing to minimise over: z has no features"),
        ((), "a tensor, or a tuple, list or dict of tensors, but the start holds nothing"),
        ({"a": torch.zeros(4, 2), "b": 3.0}, "the start holds Tensor, float"),
        ((torch.zeros(4, 2), None), "the start holds NoneType, Tensor"),
        ((torch.zeros(4, 2), torch.zeros(4, 2).double()), "of one dtype .* are torch.float32 on cpu and torch.float64"),
        (
            (torch.zeros(4, 2), torch.zeros(3, 2)),
            r"the axes of one batch, but these are of shape \(4, 2\) and \(3, 2\)",
        ),
        ((torch.zeros(4, 2), torch.zeros(4, 2).int()), "starts from floating point, not torch.int32"),
        ({"a": torch.zeros(4, 2), "b": torch.full((4,), torch.nan)}, "the start holds 4 values that are NaN"),
        (torch.tensor(1.0), r"one number per sample: for z of shape \(\)"),
    ],
    ids=str,
)
def test_a_start_that_is_no_batch_of_latents_is_refused(start, message):
    def fn(z):
        first = tree_flatten(z)[0][0]
        return first.square().sum(-1) if first.ndim else first

    with pytest.raises(ValueError, match=message):
        minimize(fn, start)


def test_parts_that_share_the_first_axis_of_a_batch_only_are_refused():
    check_start((torch.zeros(4, 3), torch.zeros(4, 2)))
    with pytest.raises(ValueError, match=r"for z of shape \(4, 2\) .* such as \(4,\), but it was \(4, 3\)"):
        batch_of(torch.zeros(4, 3), (torch.zeros(4, 3), torch.zeros(4, 2)))
