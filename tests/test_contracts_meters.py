"""What holds for every meter, found by looking at `ebm.meters`: one that is dropped into the folder is tested here.

A function of codes takes `codes` and returns a float; one of two codes takes `x, y` or `hx, hy`, whose rows match; a
meter takes `F, hx, hy` and returns numbers by name. Functions are those that the package exports, meters all there are.
"""

import importlib
import inspect
import math
import pkgutil
import random
import re
from functools import partial

import numpy as np
import pytest
import torch
from conftest import normal

import ebm.meters
from ebm import FreeEnergy
from ebm.energies import JointEmbedding

# Where a number depends on the order of rows, its docstring says how: some are drawn by their place, or permuted.
SAYS_SO = re.compile(r"order of|by (their|its) place|permut|drawn|seed|another sample")
FEW = 8  # a number that is not defined for fewer codes may refuse them, if it says how many came


def functions():
    """Every public function that a file of `ebm.meters` defines, with its full name."""
    for found in pkgutil.iter_modules(ebm.meters.__path__, "ebm.meters."):
        module = importlib.import_module(found.name)
        for name, fn in vars(module).items():
            if inspect.isfunction(fn) and fn.__module__ == found.name and not name.startswith("_"):
                yield f"{found.name.removeprefix('ebm.meters.')}.{name}", fn


def kind(fn):
    """How it is called, by what it asks for and returns; None if it is no meter."""
    signature = inspect.signature(fn)
    needs = [(each.name, each.annotation) for each in signature.parameters.values() if each.default is each.empty]
    if [name for name, _ in needs] == ["F", "hx", "hy"] and signature.return_annotation == "dict[str, float]":
        return "meter"
    if signature.return_annotation != "float" or vars(ebm.meters).get(fn.__name__) is not fn:
        return None
    if needs == [("codes", "Tensor")]:
        return "codes"
    return "two codes" if needs in [[(a, "Tensor"), (b, "Tensor")] for a, b in ("xy", ("hx", "hy"))] else None


def read(fn, codes, other=None):
    """Its numbers by name, of codes, of two codes or of pairs; the other code is the same, in another order."""
    other = codes.flip(0) if other is None else other
    # What is trained is trained for a few steps here.
    called = partial(fn, steps=20) if "steps" in inspect.signature(fn).parameters else fn
    if kind(fn) == "codes":
        return {"value": called(codes)}
    if kind(fn) == "two codes":
        return {"value": called(other, codes)}
    if fn in OF_CODES:
        return called(None, other, codes)
    # Squares of half precision overflow: that is to be tested of energies.
    return called(FreeEnergy(JointEmbedding(torch.nn.Identity())), other.double(), codes.double())


def takes(fn, codes, needs=Exception):
    """Whether it reads these codes."""
    try:
        read(fn, codes)
    except needs:
        return False
    return True


class Untouched:
    """An energy that a meter of codes alone does not so much as look at."""

    def __getattribute__(self, name):
        raise AssertionError(name)

    def __call__(self, hx, hy):
        raise AssertionError("called")


def reads_codes_alone(fn):
    """Whether it has no need of the energy."""
    try:
        fn(Untouched(), normal(12, 4), normal(12, 4, seed=1))
    except (AssertionError, ValueError):
        return False
    return True


FOUND = {name: fn for name, fn in functions() if kind(fn) is not None}
OF_CODES = {fn for fn in FOUND.values() if kind(fn) != "meter" or reads_codes_alone(fn)}
# Those of points of the plane, of bits and the like refuse other codes, and are tested by themselves.
REFUSING = {name for name, fn in FOUND.items() if not takes(fn, normal(12, 4), ValueError)}

meters = pytest.mark.parametrize(
    "fn", [pytest.param(fn, id=name) for name, fn in FOUND.items() if name not in REFUSING]
)
meters_of_codes = pytest.mark.parametrize(
    "fn", [pytest.param(fn, id=name) for name, fn in FOUND.items() if name not in REFUSING and fn in OF_CODES]
)

DEGENERATE = {
    "zeros": torch.zeros(8, 4),
    "the same": torch.full((8, 4), 3.7),
    "the same, far away": torch.full((8, 4), 1e6, dtype=torch.float64),
    "rank one": normal(9, 1) * normal(1, 4, seed=1),
    "duplicates": normal(3, 4).repeat(4, 1),
    "two points": torch.eye(2).repeat_interleave(6, 0),
    "two codes, the same": torch.ones(2, 4),
    "one dimension": normal(9, 1),
    "one dimension, all zero": torch.zeros(9, 1),
    "fewer codes than dimensions": normal(5, 20),
    "an empty dimension": normal(9, 4) * torch.tensor([1.0, 1.0, 1.0, 0.0]),
    "signs": normal(9, 4).sign(),
    "huge": 1e30 * normal(9, 4, dtype=torch.float32),
    "tiny": 1e-30 * normal(9, 4, dtype=torch.float32),
    "far away": 1e6 + normal(9, 4),
    "shrunk": 5 + 1e-6 * normal(9, 4),
    "one far from the others": normal(9, 4) * torch.tensor([1e12] + [1.0] * 8)[:, None],
    "half precision": 100 * normal(9, 4, dtype=torch.float16),
    "bfloat16": normal(9, 4, dtype=torch.bfloat16),
    "with a graph": normal(9, 4).requires_grad_(),
}


def finite_or_refused(fn, codes):
    """Whether its numbers are finite, or it is one of more codes than these, and says how many there are."""
    try:
        numbers = read(fn, codes)
    except ValueError as error:
        return len(codes) < FEW and re.search(rf"got .*\b{len(codes)}\b", str(error)) is not None
    assert numbers
    assert all(type(name) is str and type(value) is float for name, value in numbers.items())
    return all(math.isfinite(value) for value in numbers.values())


def test_the_meters_are_found():
    found = {name.split(".")[1] for name in FOUND}
    assert {"effective_rank", "uniformity", "alignment", "spread", "rank", "energy_gap"} <= found
    assert {"plane.density", "plane.chains", "binary.entries"} <= REFUSING
    assert ebm.meters.rank in OF_CODES
    assert ebm.meters.energy_gap not in OF_CODES


@meters
@pytest.mark.parametrize("codes", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_codes_give_finite_numbers(fn, codes):
    assert finite_or_refused(fn, codes)


@meters_of_codes
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_few_codes_give_finite_numbers_or_are_refused_by_their_count(fn, rows):
    assert finite_or_refused(fn, normal(rows, 4))


@meters
def test_the_same_codes_give_the_same_numbers(fn):
    assert read(fn, normal(30, 4)) == read(fn, normal(30, 4))


@meters
def test_the_order_of_rows_is_nothing_or_the_docstring_says_that_it_is(fn):
    codes, other = normal(40, 4), normal(40, 4, seed=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(3))
    ordered, shuffled = read(fn, codes, other), read(fn, codes[order], other[order])
    # The same sums in another order.
    alike = shuffled == pytest.approx(ordered, rel=1e-7, abs=1e-9)
    assert alike or SAYS_SO.search(" ".join(inspect.getdoc(fn).split())), (ordered, shuffled)


@meters
def test_the_global_random_states_are_left_alone(fn):
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    read(fn, normal(30, 4))
    assert torch.get_rng_state().equal(states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]


@meters
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_the_codes_stay_as_they_are(fn, dtype):
    codes, other = normal(12, 4, dtype=dtype), normal(12, 4, seed=1, dtype=dtype)
    before = codes.clone(), other.clone()
    read(fn, codes, other)
    assert codes.equal(before[0])
    assert other.equal(before[1])


@meters_of_codes
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_codes_that_are_not_finite_are_refused(fn, value):
    codes = normal(9, 4)
    codes[3, 1] = value
    with pytest.raises(ValueError, match=r"NaN|infinit"):
        read(fn, codes)


@meters_of_codes
@pytest.mark.parametrize("shape", [(8,), (8, 3, 3), (8, 0), (0, 4)], ids=str)
def test_what_is_not_rows_of_features_is_refused_by_its_shape(fn, shape):
    with pytest.raises(ValueError, match="got"):
        read(fn, normal(*shape))
