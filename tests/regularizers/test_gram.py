"""What `Covariance` and `CrossCorrelation` are made of: squares off a diagonal, by the smaller side of the codes."""

import pytest
import torch
from conftest import normal

from ebm.processes import Batch
from ebm.regularizers import Covariance, CrossCorrelation, Variance
from ebm.regularizers.gram import LARGEST, correlation, few, products, redundancy

N, D = 64, 192
shapes = pytest.mark.parametrize("shape", [(5, 40), (40, 41), (41, 41), (60, 8)], ids=str)
terms = pytest.mark.parametrize("kind", [Covariance, CrossCorrelation])


def off_diagonal(matrix):
    return matrix - torch.diag(matrix.diagonal())


def covariance_written_out(*codes):
    """VICReg, eq. 3 and 4, over pairs of features."""
    total = 0
    for h in codes:
        centred = h - h.mean(0)
        matrix = torch.einsum("ni,nj->ij", centred, centred) / (len(h) - 1)
        total = total + off_diagonal(matrix).square().sum() / h.shape[1]
    return total


def correlation_written_out(x, y):
    """Barlow Twins, eq. 1 and 2."""
    a, b = ((h - h.mean(0)) / (h.var(0, correction=0) + 1e-5).sqrt() for h in (x, y))
    matrix = torch.einsum("ni,nj->ij", a, b) / len(x)
    return (1 - matrix.diagonal()).square().sum() + 5e-3 * off_diagonal(matrix).square().sum()


def variance_written_out(*codes):
    """VICReg, eq. 1 and 2, mean over branches as in the official code."""
    return sum((1 - (h.var(0) + 1e-4).sqrt()).clamp_min(0).mean() for h in codes) / len(codes)


def collapsing(name, n=N, d=D):
    """Codes in which the difference of large numbers would be lost, or in which few columns hold all."""
    iid, scale = normal(n, d), torch.ones(d, dtype=torch.float64)
    if name == "one column of a thousand times the deviation":
        scale[7] = 1e3
    elif name == "all columns of unequal deviation":
        scale = torch.exp(1.5 * normal(d, seed=1))
    elif name == "as many dominant columns as are multiplied out":
        scale[:LARGEST] = 1e3
    elif name == "whitened as far as it goes":
        u, _, v = torch.linalg.svd(iid - iid.mean(0), full_matrices=False)
        return (u[:, :-1] @ v[:-1]) * n**0.5
    elif name == "far from zero":
        return iid + 100
    elif name == "close together":
        return 5 + 1e-3 * iid
    elif name == "one direction and noise":
        return normal(n, 1) @ normal(1, d, seed=2) + 1e-3 * iid
    elif name == "two of each sample":
        return iid[: n // 2].repeat(2, 1)
    return iid * scale


CASES = [
    *("normal", "one column of a thousand times the deviation", "all columns of unequal deviation"),
    *("as many dominant columns as are multiplied out", "whitened as far as it goes", "far from zero"),
    *("close together", "one direction and noise", "two of each sample"),
]


def relative(value, reference):
    return ((value.double() - reference).norm() / reference.norm()).item()


@shapes
@pytest.mark.parametrize(
    ("term", "written_out"),
    [
        (Covariance(), covariance_written_out),
        (CrossCorrelation(), correlation_written_out),
        (Variance(), variance_written_out),
    ],
    ids=["covariance", "cross-correlation", "variance"],
)
def test_a_term_is_its_formula_in_value_and_gradient(term, written_out, shape):
    x = (normal(*shape) @ normal(shape[1], shape[1], seed=1) / shape[1]).requires_grad_()
    y = (x.detach() + 0.3 * normal(*shape, seed=2) + 1).requires_grad_()
    ours, reference = term(x, y), written_out(x, y)
    assert relative(ours.detach(), reference.detach()) < 1e-9
    gradients = zip(torch.autograd.grad(ours, (x, y)), torch.autograd.grad(reference, (x, y)), strict=True)
    assert all(relative(mine, theirs) < 1e-9 for mine, theirs in gradients)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(N, D), (D, N)], ids=["fewer samples", "fewer features"])
def test_single_precision_keeps_the_covariance_of_any_codes(case, shape):
    if case == "whitened as far as it goes" and shape == (D, N):
        pytest.skip("more samples than features can be whitened to nothing but rounding")
    codes = collapsing(case, *shape).float()
    exact = codes.double().requires_grad_()
    value, reference = Covariance()(codes.requires_grad_()), covariance_written_out(exact)
    # Products in single precision round by 6e-8, at random: ten times that is left for sums that cancel in part.
    assert relative(value.detach(), reference.detach()) < 1e-6
    slopes = torch.autograd.grad(value, codes)[0], torch.autograd.grad(reference, exact)[0]
    # The mean of codes far from zero is rounded by 1e-7 of it, which is 1e-4 of those that are 1e-3 around 5.
    assert relative(*slopes) < (1e-3 if case == "close together" else 3e-6)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(N, D), (D, N)], ids=["fewer samples", "fewer features"])
def test_single_precision_keeps_the_cross_correlation_of_any_codes(case, shape):
    x = collapsing(case, *shape).float()
    y = (x + 0.3 * x.std(0) * normal(*shape, seed=4)).float()
    value, exact = CrossCorrelation()(x, y), correlation_written_out(x.double(), y.double())
    # What a correlation of 0.96 is short of 1 has 25 times its rounding of 6e-8, twice that when squared.
    assert relative(value, exact) < 3e-6


@terms
def test_by_rows_and_by_features_it_is_the_same(kind, monkeypatch):
    codes = normal(12, 30), normal(12, 30, seed=1)
    by_rows = kind()(*codes)
    monkeypatch.setattr("ebm.regularizers.gram.few", lambda samples, features: False)
    torch.testing.assert_close(kind()(*codes), by_rows, rtol=1e-12, atol=1e-12)  # the same sums in another order


def test_the_matrix_of_features_never_stands_in_memory_where_samples_are_fewer():
    codes = normal(4, 200_000, dtype=torch.float32).requires_grad_()  # whose matrix of features would take 160 GB
    value = Covariance()(codes) + CrossCorrelation()(codes)
    value.backward()
    assert value.isfinite()
    assert codes.grad.isfinite().all()


@terms
@pytest.mark.parametrize("shape", [(6, 20), (20, 6)], ids=["fewer samples", "fewer features"])
@pytest.mark.parametrize("codes", ["constant", "of one feature", "of one sample twice"])
def test_collapsed_codes_have_a_finite_value_and_slope(kind, shape, codes):
    h = {
        "constant": torch.full(shape, 3.0),
        "of one feature": normal(shape[0], 1).float().expand(shape).clone(),
        "of one sample twice": normal(shape[0] // 2, shape[1]).float().repeat(2, 1),
    }[codes].requires_grad_()
    value = kind()(h, h.detach() + 1)
    value.backward()
    assert value.isfinite()
    assert value >= 0
    assert h.grad.isfinite().all()


@terms
@pytest.mark.parametrize("shape", [(6, 20), (20, 6)], ids=["fewer samples", "fewer features"])
def test_a_second_derivative_is_refused_and_not_left_out(kind, shape):
    codes = normal(*shape).requires_grad_()
    with pytest.raises(RuntimeError, match="differentiable once"):
        torch.autograd.grad(kind()(codes), codes, create_graph=True)


def test_variance_has_a_second_derivative():
    codes = (normal(6, 3) / 3).requires_grad_()
    assert torch.autograd.gradgradcheck(Variance(), (codes,))


@pytest.mark.parametrize("n", [3, 128, 129, 300])
def test_products_of_rows_are_those_of_all_pairs(n):
    rows = normal(n, 5)
    torch.testing.assert_close(products(rows), rows @ rows.T, rtol=1e-13, atol=1e-13)  # sums of five terms


def test_the_diagonal_comes_with_what_is_off_it():
    for shape in ((4, 9), (9, 4)):
        a, b = normal(*shape), normal(*shape, seed=1)
        matrix = a.T @ b / len(a)
        diagonal, off = correlation(a, b, Batch((len(a),)))
        torch.testing.assert_close(diagonal, matrix.diagonal(), rtol=1e-13, atol=1e-13)  # sums of nine terms
        torch.testing.assert_close(off, off_diagonal(matrix).square().sum(), rtol=1e-12, atol=1e-12)


def test_rows_are_multiplied_where_they_are_fewer_than_features():
    assert few(255, 256)
    assert not few(256, 256)
    assert redundancy(normal(3, 4), 2, Batch((3,))).shape == ()
