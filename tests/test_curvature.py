import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.curvature import dense, hessian_product, largest_curvature
from ebm.minimize import pose

shapes = st.tuples(st.integers(1, 4), st.integers(1, 6))
seeds = st.integers(0, 2**16)


def curved(z):
    """Fourth powers and products of all features, so that the curvature differs from row to row."""
    return z.square().sum(-1).square() / 4 + (z.cumsum(-1).sin() * z.exp()).sum(-1)


def problem_of(fn, z, given_=()):
    return pose(fn, z, given_)[0]


def hessians(fn, z):
    """Row by row, each by itself."""
    return torch.stack([torch.func.jacrev(torch.func.grad(lambda row: fn(row[None])[0]))(row) for row in z])


@given(shape=shapes, seed=seeds)
def test_products_are_those_with_the_hessian_of_each_row(shape, seed):
    z, v = normal(*shape, seed=seed), normal(*shape, seed=seed + 1)
    expected = (hessians(curved, z) @ v[..., None])[..., 0]
    product = hessian_product(problem_of(curved, z), z)
    torch.testing.assert_close(product(v), expected, atol=1e-10, rtol=1e-10)  # rounding of numbers up to 1e3
    torch.testing.assert_close(product(2 * v), 2 * expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_products_are_the_same_in_every_mode(mode):
    z, v = normal(3, 4), normal(3, 4, seed=1)
    expected = (hessians(curved, z) @ v[..., None])[..., 0]
    with mode():
        product = hessian_product(problem_of(curved, z), z)
        torch.testing.assert_close(product(v), expected, atol=1e-10, rtol=1e-10)
        torch.testing.assert_close(dense(product, z), hessians(curved, z), atol=1e-10, rtol=1e-10)


@given(shape=shapes, seed=seeds)
def test_a_matrix_written_out_is_the_hessian_and_exactly_symmetric(shape, seed):
    z = normal(*shape, seed=seed)
    matrix = dense(hessian_product(problem_of(curved, z), z), z)
    torch.testing.assert_close(matrix, hessians(curved, z), atol=1e-10, rtol=1e-10)
    assert torch.equal(matrix, matrix.mT)


def test_an_energy_that_is_linear_has_no_curvature():
    z = normal(3, 4)
    for slope in (lambda z: 3 * z.sum(-1), lambda z: z[:, 0] + (z * 0).sum(-1).square()):
        product = hessian_product(problem_of(slope, z), z)
        assert torch.equal(product(torch.ones_like(z)), torch.zeros_like(z))


@given(shape=shapes, seed=seeds)
def test_the_power_iteration_finds_the_largest_magnitude_of_an_eigenvalue_from_below(shape, seed):
    z = normal(*shape, seed=seed)
    largest = torch.linalg.eigvalsh(hessians(curved, z)).abs().amax(-1)
    few, many = (largest_curvature(problem_of(curved, z), z, iterations) for iterations in (3, 300))
    assert (few <= largest * (1 + 1e-10)).all()
    assert (many <= largest * (1 + 1e-10)).all()
    # It converges as the ratio of the two largest, which may be close, to any power; a step is checked on the way.
    assert (many >= few * (1 - 1e-10)).all()


def test_the_power_iteration_converges_where_eigenvalues_are_apart():
    values = torch.tensor([[1.0, -8.0, 2.0], [5.0, 1.0, 0.0]], dtype=torch.float64)
    axes, _ = torch.linalg.qr(normal(2, 3, 3))
    matrix = (axes * values[:, None]) @ axes.mT

    def fn(z, matrix):
        return (z * (matrix @ z[..., None])[..., 0]).sum(-1) / 2

    estimate = largest_curvature(problem_of(fn, normal(2, 3), (matrix,)), normal(2, 3), 30)
    torch.testing.assert_close(estimate, torch.tensor([8.0, 5.0]).double(), atol=1e-9, rtol=0)  # 4^-30 = 1e-18


@pytest.mark.parametrize("fn", [lambda z: z.sum(-1), lambda z: (z.sqrt() * z).sum(-1)], ids=["flat", "not a number"])
def test_where_there_is_no_curvature_to_be_had_it_is_one(fn):
    z = -normal(3, 4).abs()
    assert largest_curvature(problem_of(fn, z), z, 5).tolist() == [1, 1, 1]
