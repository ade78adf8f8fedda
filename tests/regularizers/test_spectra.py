"""What regularizers of a spectrum share: the smaller matrix, precision, codes that have collapsed, one graph."""

import pytest
import torch
from conftest import normal
from spectral import SHAPES, views, white
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ebm.regularizers import MMCR, CodingRate, FroSSL, WhitenedDistance
from ebm.regularizers.spectra import gram, missing, nuclear_norm

KINDS = [WhitenedDistance, CodingRate, FroSSL, MMCR]
every_kind = pytest.mark.parametrize("regularizer", [*(kind() for kind in KINDS), MMCR(local=0.1)], ids=repr)


class Largest(TorchDispatchMode):
    """How many numbers the largest tensor has that any operation makes, of a derivative too."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        self.numbers = max(self.numbers, *sizes, 0)
        return made


def value_and_slopes(regularizer, codes):
    leaves = [h.detach().requires_grad_() for h in codes]
    value = regularizer(*leaves)
    return value.detach(), torch.autograd.grad(value, leaves)


@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_the_smaller_matrix_of_products_has_the_squares_of_the_singular_values(n, d):
    (codes,) = views(n, d, 1)
    matrix = gram(codes)
    assert matrix.shape == (min(n, d),) * 2
    squares = torch.linalg.svdvals(codes).square().flip(0)
    torch.testing.assert_close(torch.linalg.eigvalsh(matrix), squares, rtol=1e-10, atol=1e-10)  # squares of up to 100


@pytest.mark.parametrize(("n", "d"), [(3, 5), (5, 3)])
def test_products_have_first_and_second_derivatives(n, d):
    (codes,) = views(n, d, 1)
    assert gradcheck(gram, codes)
    assert gradgradcheck(gram, codes)


def test_the_nuclear_norm_of_a_matrix_that_lacks_directions_has_the_gradient_of_those_it_has():
    rows = (normal(6, 2) @ normal(2, 4, seed=1)).requires_grad_()
    left, values, right = torch.linalg.svd(rows.detach(), full_matrices=False)
    norm = nuclear_norm(gram(rows))
    (slope,) = torch.autograd.grad(norm, rows)
    # Roundings of the squares of values of about 3, divided by the smaller value.
    torch.testing.assert_close(norm, values.sum(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(slope, left[:, :2] @ right[:2], rtol=1e-9, atol=1e-9)


def test_the_nuclear_norm_of_nothing_is_zero_with_a_gradient_of_zero_and_of_nan_is_nan():
    rows = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
    norm = nuclear_norm(gram(rows))
    assert norm == 0
    assert torch.equal(torch.autograd.grad(norm, rows)[0], torch.zeros_like(rows))
    assert nuclear_norm(torch.full((3, 3), torch.nan)).isnan()


def test_what_rounding_makes_negative_is_zero_and_keeps_its_gradient():
    value = torch.tensor([1.0, 3.0], requires_grad=True)
    left = missing(value, 2.0)
    assert left.tolist() == [1.0, 0.0]
    assert torch.autograd.grad(left.sum(), value)[0].tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("regularizer", [CodingRate(), FroSSL(), MMCR(), MMCR(local=0.1)], ids=repr)
@pytest.mark.parametrize(("n", "d"), [(8, 300), (300, 8)])
def test_no_matrix_of_the_larger_side_is_made(regularizer, n, d):
    codes = views(n, d)
    with Largest() as largest:
        value_and_slopes(regularizer, codes)
    assert largest.numbers <= 2 * n * d  # the two views, and nothing near 300 x 300


def test_to_whiten_makes_no_matrix_of_samples():
    codes = views(300, 8)
    with Largest() as largest:
        value_and_slopes(WhitenedDistance(), codes)
    assert largest.numbers <= 2 * 300 * 8


COLLAPSED = {
    "origin": lambda n, d: torch.zeros(n, d),
    "a point": lambda n, d: torch.full((n, d), 0.1),
    "near a point": lambda n, d: 0.1 + 1e-6 * normal(n, d, dtype=torch.float32),
    "duplicate rows": lambda n, d: normal(2, d, dtype=torch.float32).repeat(n // 2, 1),
    "duplicate features": lambda n, d: normal(n, 1, dtype=torch.float32).repeat(1, d),
    "a constant feature": lambda n, d: normal(n, d, dtype=torch.float32).index_fill(1, torch.tensor(0), 1.0),
    "a row at the origin": lambda n, d: normal(n, d, dtype=torch.float32).index_fill(0, torch.tensor(0), 0.0),
    "white": lambda n, d: white(n, d).float(),
    "near white": lambda n, d: white(n, d).float() + 1e-6 * normal(n, d, dtype=torch.float32),
}


@every_kind
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("codes", COLLAPSED.values(), ids=COLLAPSED)
@pytest.mark.parametrize(("n", "d"), [(16, 4), (4, 16)])
def test_codes_that_have_collapsed_or_are_white_have_a_finite_value_and_gradient(regularizer, dtype, codes, n, d):
    value, slopes = value_and_slopes(regularizer, [codes(n, d).to(dtype)] * 2)
    assert value.isfinite()
    assert value >= 0
    assert all(slope.isfinite().all() for slope in slopes)


@every_kind
def test_codes_that_are_not_finite_cost_nan_and_do_not_raise(regularizer):
    a, b = (h.detach() for h in views(9, 4))
    assert regularizer(a.index_fill(0, torch.tensor(3), torch.nan), b).isnan()
    assert regularizer(a.index_fill(0, torch.tensor(3), torch.inf), b).isnan()
