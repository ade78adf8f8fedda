import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.linear import conjugate_gradients, solve_dense

shapes = st.tuples(st.integers(1, 4), st.integers(1, 12))
seeds = st.integers(0, 2**16)
conditions = st.sampled_from([1.0, 10.0, 1e3])


def with_eigenvalues(values, seed=0):
    """Symmetric matrices `(N, D, D)` with these eigenvalues `(N, D)`."""
    axes, _ = torch.linalg.qr(normal(*values.shape, values.shape[-1], seed=seed).to(values))
    matrix = (axes * values[:, None]) @ axes.mT
    return (matrix + matrix.mT) / 2


def positive(shape, condition, seed):
    """Matrices whose eigenvalues lie between one and the condition, both of which are among them."""
    share = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    share[:, 0], share[:, -1] = 0, 1
    return with_eigenvalues(condition**share, seed)


def product_with(matrix):
    return lambda v: (matrix @ v[..., None])[..., 0]


@given(shape=shapes, condition=conditions, seed=seeds)
def test_conjugate_gradients_solve_what_lu_solves(shape, condition, seed):
    matrix, b = positive(shape, condition, seed), normal(*shape, seed=seed + 1)
    solution = conjugate_gradients(product_with(matrix), b, 1e-10, 1000)
    expected = torch.linalg.solve(matrix, b)
    assert (solution.residual <= 1e-10).all()
    # The least eigenvalue is one, so that an error is no longer than its residual; rounding of D products besides.
    assert ((solution.w - expected).norm(dim=-1) <= 1e-9 * b.norm(dim=-1)).all()


@given(shape=shapes, condition=conditions, seed=seeds)
def test_a_matrix_that_is_written_out_solves_what_lu_solves(shape, condition, seed):
    matrix, b = positive(shape, condition, seed), normal(*shape, seed=seed + 1)
    solution = solve_dense(product_with(matrix), b)
    torch.testing.assert_close(solution.w, torch.linalg.solve(matrix, b), atol=1e-11, rtol=1e-11)  # 1e3 eps, and D
    assert (solution.residual <= 1e-12 * condition).all()


@given(shape=shapes, condition=conditions, seed=seeds)
def test_what_is_said_of_the_residual_and_the_curvature_is_so(shape, condition, seed):
    matrix, b = positive(shape, condition, seed), normal(*shape, seed=seed + 1)
    early = conjugate_gradients(product_with(matrix), b, 1e-10, 2)
    true = (b - product_with(matrix)(early.w)).norm(dim=-1) / b.norm(dim=-1)
    torch.testing.assert_close(early.residual, true, atol=1e-10, rtol=1e-6)  # which is updated, not computed anew
    values = torch.linalg.eigvalsh(matrix)
    assert (early.curvature >= values[:, 0] * (1 - 1e-9)).all()
    assert (early.curvature <= values[:, -1] * (1 + 1e-9)).all()
    written_out = solve_dense(product_with(matrix), b).curvature
    # A bound from below by the trace of the inverse, which is at most D times its largest eigenvalue.
    assert (written_out <= values[:, 0] * (1 + 1e-9)).all()
    assert (written_out >= values[:, 0] / shape[1] * (1 - 1e-9)).all()


def test_each_system_stops_by_itself_and_is_solved_as_if_alone():
    matrix, b = positive((6, 8), 100.0, 3), normal(6, 8, seed=4)
    matrix[2] = torch.eye(8)  # solved in one step
    matrix[4] = with_eigenvalues(torch.linspace(-1, 1, 8).double()[None])[0]
    together = conjugate_gradients(product_with(matrix), b, 1e-8, 100)
    for i in range(6):
        alone = conjugate_gradients(product_with(matrix[i : i + 1]), b[i : i + 1], 1e-8, 100)
        torch.testing.assert_close(together.w[i], alone.w[0], atol=1e-12, rtol=1e-10)  # of products in another order
    torch.testing.assert_close(together.w[2], b[2])


def test_a_hundred_features_take_as_many_steps_as_there_are_eigenvalues():
    values = torch.tensor([1.0, 2.0, 5.0, 9.0]).double().repeat(2, 25)
    matrix, b = with_eigenvalues(values), normal(2, 100, seed=1)
    calls = []

    def product(v):
        calls.append(len(v))
        return product_with(matrix)(v)

    assert (conjugate_gradients(product, b, 1e-10, 100).residual <= 1e-10).all()
    assert len(calls) in (4, 5)  # four in exact arithmetic


solvers = pytest.mark.parametrize(
    "solve", [lambda product, b: conjugate_gradients(product, b, 1e-8, 100), solve_dense], ids=["products", "dense"]
)


@solvers
@given(seed=seeds, d=st.integers(2, 8))
def test_a_matrix_that_is_not_positive_definite_is_told_by_its_curvature(solve, seed, d):
    values = 1 + torch.rand(3, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values[1, 0] = -1
    values[2] *= -1
    solution = solve(product_with(with_eigenvalues(values, seed)), normal(3, d, seed=seed + 1))
    assert solution.curvature[0] > 0
    assert (solution.curvature[1:] <= 0).all()
    assert solution.w.isfinite().all()


@given(seed=seeds, d=st.integers(2, 8))
def test_a_singular_matrix_is_told_by_its_curvature_and_solved_by_the_shortest(seed, d):
    values = 1 + torch.rand(2, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    values[1, 0] = 0
    matrix = with_eigenvalues(values, seed)
    b = product_with(matrix)(normal(2, d, seed=seed + 1))  # in the range, so that there is a solution
    solution = solve_dense(product_with(matrix), b)
    torch.testing.assert_close(
        solution.w, (torch.linalg.pinv(matrix, hermitian=True, rtol=1e-9) @ b[..., None])[..., 0]
    )
    assert solution.curvature[0] > 0 >= solution.curvature[1]
    assert (solution.residual <= 1e-10).all()


@solvers
def test_a_right_hand_side_of_zero_has_the_solution_zero(solve):
    matrix, b = positive((3, 4), 10.0, 0), normal(3, 4)
    b[1] = 0
    solution = solve(product_with(matrix), b)
    assert torch.equal(solution.w[1], torch.zeros(4, dtype=torch.float64))
    assert solution.residual[1] == 0
    assert (solution.curvature > 0).all()
    torch.testing.assert_close(solution.w[::2], torch.linalg.solve(matrix, b)[::2], atol=1e-7, rtol=0)


@solvers
def test_no_systems_have_no_solutions(solve):
    assert solve(lambda v: v, torch.zeros(0, 4)).w.shape == (0, 4)


@solvers
@pytest.mark.parametrize("size", [1e-25, 1e-12, 1e25])
def test_a_system_is_solved_alike_whatever_the_size_of_its_right_hand_side(solve, size):
    matrix, b = positive((3, 6), 10.0, 0).float(), normal(3, 6, dtype=torch.float32)
    expected = torch.linalg.solve(matrix, b)
    # Single precision and a condition of ten, 1e-8 being below what it resolves.
    torch.testing.assert_close(solve(product_with(matrix), size * b).w / size, expected, atol=1e-5, rtol=1e-4)


@solvers
def test_a_matrix_that_is_not_a_number_leaves_the_other_systems_alone(solve):
    matrix, b = positive((3, 4), 10.0, 0), normal(3, 4)
    ill = matrix.clone()
    ill[1] = torch.nan
    healthy, solution = solve(product_with(matrix), b), solve(product_with(ill), b)
    torch.testing.assert_close(solution.w[::2], healthy.w[::2])
    assert not (solution.residual[1] <= 1e-6)
