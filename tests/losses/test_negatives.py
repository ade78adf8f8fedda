import pytest
import torch
from conftest import Table, normal
from hypothesis import given
from hypothesis import strategies as st

from ebm import Energy, FreeEnergy
from ebm.losses import InfoNCE
from ebm.losses.negatives import ENERGIES_AT_ONCE, by_chunks, by_rows, contrast, in_single_precision


@given(n=st.integers(2, 7))
def test_right_answers_are_the_diagonal_and_wrong_ones_all_else(n):
    pairs = normal(n, n)
    table = torch.zeros(2 * n, 2 * n, dtype=torch.float64)
    table[:n, n:] = pairs
    energies = contrast(InfoNCE(), FreeEnergy(Table(table)), *Table(table).codes())
    assert torch.equal(energies.right, pairs.diagonal())
    assert torch.equal(energies.wrong, pairs.masked_fill(torch.eye(n, dtype=torch.bool), torch.inf))


@pytest.mark.parametrize(
    ("rows", "answers", "chunk", "sizes"),
    [
        (4096, 4096, None, [4096]),
        (4097, 4097, None, [4095, 2]),
        (16384, 16384, None, [1024] * 16),
        (5, ENERGIES_AT_ONCE + 1, None, [1] * 5),
        (7, 7, 3, [3, 3, 1]),
        (7, 7, 7, [7]),
        (7, 7, 100, [7]),
    ],
)
def test_no_more_energies_stand_in_memory_than_are_allowed_and_no_row_is_left_out(rows, answers, chunk, sizes):
    order = torch.arange(rows)
    parts = by_chunks(lambda part: part, [order], answers, chunk)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), order)


def test_the_backward_pass_computes_the_energies_of_each_chunk_again_and_of_a_whole_batch_not():
    calls = []

    def squares(rows):
        calls.append(len(rows))
        return rows.square()

    rows = normal(5).requires_grad_()
    by_rows(squares, [rows], 5, None).sum().backward()
    assert calls == [5]
    by_rows(squares, [rows], 5, 2).sum().backward()
    assert sorted(calls[1:]) == [1, 1, 2, 2, 2, 2]


def test_without_a_derivative_to_come_no_chunk_is_computed_twice():
    calls = []
    with torch.no_grad():
        by_rows(lambda rows: calls.append(len(rows)) or rows, [normal(5)], 5, 2)
    assert calls == [2, 2, 1]


class Held(torch.autograd.graph.saved_tensors_hooks):
    """Counts the numbers that are kept for the backward pass."""

    def __init__(self):
        self.numbers = 0
        super().__init__(self.keep, lambda tensor: tensor)

    def keep(self, tensor):
        self.numbers += tensor.numel()
        return tensor


def test_in_chunks_what_is_kept_for_the_backward_pass_grows_with_the_batch_and_not_with_its_square():
    def kept(n, chunk):
        F = FreeEnergy(Rows())
        hx, hy = normal(n, 2).requires_grad_(), normal(n, 2, seed=1).requires_grad_()
        held = Held()
        with held:
            InfoNCE(chunk=chunk)(F, hx, hy)
        return held.numbers

    assert kept(256, None) > 256**2
    assert kept(256, 64) < 32 * 256


class Rows(Energy):
    """`-hx'hy`."""

    def cost(self, hx, hy, z=None):
        return -(hx * hy).sum(-1)

    def pairs(self, hx, hy):
        return -hx @ hy.T


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_codes_in_half_precision_are_made_single_unless_the_weights_of_the_energy_are_in_half(dtype):
    F = FreeEnergy(Table(torch.zeros(4, 4)))
    hx, hy = F.energy.codes()
    assert [h.dtype for h in in_single_precision(F, hx.to(dtype), hy.double())] == [torch.float32, torch.float64]
    assert [h.dtype for h in in_single_precision(F.to(dtype), hx.to(dtype), hy)] == [dtype, torch.float32]
