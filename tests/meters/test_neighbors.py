import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from ebm.meters import neighbors
from ebm.meters.neighbors import drawn, nearest


def by_sorting(codes, count):
    """Every distance by differences, each row without itself."""
    table = codes.double().numpy()
    distances = np.sqrt(((table[:, None] - table[None]) ** 2).sum(-1))
    np.fill_diagonal(distances, np.inf)
    return torch.from_numpy(np.sort(distances, axis=1)[:, :count])


def between(codes, indices):
    codes = codes.double()
    return (codes[:, None] - codes[indices]).square().sum(-1).sqrt()


@given(rows=st.integers(2, 40), features=st.integers(1, 12), data=st.data(), seed=st.integers(0, 2**16))
def test_they_are_those_of_sorting_every_distance(rows, features, data, seed):
    count = data.draw(st.integers(1, rows - 1))
    codes = normal(rows, features, seed=seed)
    distances, indices = nearest(codes, count)
    # Sums of a dozen squares in two orders.
    torch.testing.assert_close(distances, by_sorting(codes, count), rtol=1e-12, atol=0)
    torch.testing.assert_close(distances, between(codes, indices), rtol=1e-12, atol=0)


@given(rows=st.integers(2, 40), features=st.integers(1, 4), seed=st.integers(0, 2**16))
def test_a_row_is_not_its_own_neighbour_but_its_twin_is_one(rows, features, seed):
    codes = (2 * normal(rows, features, seed=seed)).round()
    distances, indices = nearest(codes, rows - 1)
    assert not (indices == torch.arange(rows)[:, None]).any()
    assert all(len(set(row)) == rows - 1 for row in indices.tolist())
    torch.testing.assert_close(distances, by_sorting(codes, rows - 1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("radius", [1e-2, 1e-4, 1e-6])
def test_in_clusters_tighter_than_single_precision_resolves_they_are_those_of_double(radius):
    centres = normal(5, 16)[torch.arange(400) % 5]
    codes = 1000 + centres + radius * normal(400, 16, seed=1)
    distances, _ = nearest(codes, 3)
    expected, _ = cKDTree(codes.numpy()).query(codes.numpy(), 4)
    # Codes near 1000 in double precision have distances of 1e-6 to 1e-7.
    torch.testing.assert_close(distances, torch.from_numpy(expected[:, 1:]), rtol=1e-6, atol=0)


@pytest.mark.parametrize("exponent", [-400, -100, 100, 600])
def test_codes_a_power_of_two_as_large_have_the_same_neighbours_as_far_to_the_last_digit(exponent):
    codes = normal(200, 8)
    distances, indices = nearest(codes, 4)
    scaled, same = nearest(codes * 2.0**exponent, 4)
    assert scaled.equal(distances * 2.0**exponent)
    assert same.equal(indices)


def test_of_given_rows_they_are_those_among_all():
    codes, rows = normal(300, 8), torch.tensor([7, 0, 299])
    distances, indices = nearest(codes, 5)
    of_some, which = nearest(codes, 5, rows)
    # Products of fewer rows may be summed in another order, which the exact distances do not see.
    torch.testing.assert_close(of_some, distances[rows], rtol=1e-14, atol=0)
    assert which.equal(indices[rows])


def test_in_parts_they_are_what_they_are_at_once(monkeypatch):
    codes = normal(100, 8)
    at_once = nearest(codes, 5)
    monkeypatch.setattr(neighbors, "ROWS", 7)
    in_parts = nearest(codes, 5)
    torch.testing.assert_close(in_parts[0], at_once[0], rtol=1e-14, atol=0)
    assert in_parts[1].equal(at_once[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codes_in_less_precision_are_read_as_the_numbers_they_are(dtype):
    codes = normal(60, 8).to(dtype)
    torch.testing.assert_close(nearest(codes, 4)[0], by_sorting(codes, 4), rtol=1e-12, atol=0)


def test_where_single_precision_may_be_coarser_the_products_are_in_double(monkeypatch):
    tables = []
    search = neighbors._search
    monkeypatch.setattr(neighbors, "_search", lambda *given: tables.append(given[1].dtype) or search(*given))
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        found = nearest(normal(60, 8), 4)
    finally:
        torch.set_float32_matmul_precision(before)
    assert tables == [torch.float64]
    assert found[1].equal(nearest(normal(60, 8), 4)[1])
    assert tables[1] == torch.float32


def test_where_torch_does_not_say_how_precise_single_products_are_they_are_in_double(monkeypatch):
    def refuses():
        raise RuntimeError

    tables = []
    search = neighbors._search
    monkeypatch.setattr(neighbors, "_search", lambda *given: tables.append(given[1].dtype) or search(*given))
    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuses)
    nearest(normal(60, 8), 4)
    assert tables == [torch.float64]


def test_under_autocast_they_are_the_same():
    codes = normal(60, 8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        distances, _ = nearest(codes, 4)
    assert distances.equal(nearest(codes, 4)[0])


def test_codes_that_are_all_the_same_are_at_distance_0():
    assert nearest(torch.full((50, 3), 0.1), 4)[0].eq(0).all()


@pytest.mark.parametrize("count", [0, 5])
def test_more_neighbours_than_there_are_and_none_are_refused(count):
    with pytest.raises(ValueError, match=f"5 codes have from 1 to 4 neighbours each, asked for {count}"):
        nearest(normal(5, 2), count)


def test_rows_are_drawn_without_repetition_the_same_at_each_call_and_off_the_global_generator():
    state = torch.get_rng_state()
    rows = drawn(100, 60)
    assert len(rows.unique()) == 60
    assert rows.equal(drawn(100, 60))
    assert torch.get_rng_state().equal(state)


@pytest.mark.parametrize("samples", [None, 10, 11])
def test_all_rows_are_drawn_where_so_many_are_asked_for(samples):
    assert drawn(10, samples).equal(torch.arange(10))
