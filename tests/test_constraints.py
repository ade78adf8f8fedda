import dataclasses
import math

import numpy as np
import pytest
import torch
from conftest import every, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch.autograd import gradcheck

from ebm.constraints import Ball, Box, Constraint, NonNegative, Simplex, Sphere


def spread(d):
    """Bounds of every kind: two numbers, one, none, and the same twice."""
    lower = torch.tensor([-0.5, -math.inf, 0.1, -math.inf, 0.3]).repeat(d)[:d]
    upper = torch.tensor([0.7, 0.2, math.inf, math.inf, 0.3]).repeat(d)[:d]
    return Box(lower, upper)


CONVEX = {
    "box of numbers": lambda d: Box(-0.4, 0.1),
    "box of tensors": spread,
    "non-negative": lambda d: NonNegative(),
    "simplex": lambda d: Simplex(),
    "simplex of total 2.7": lambda d: Simplex(2.7),
    "ball": lambda d: Ball(),
    "ball of radius 0.3": lambda d: Ball(0.3),
}
ALL = {**CONVEX, "sphere": lambda d: Sphere(), "sphere of radius 1.7": lambda d: Sphere(1.7)}

convex = pytest.mark.parametrize("make", CONVEX.values(), ids=CONVEX)
constraints = pytest.mark.parametrize("make", ALL.values(), ids=ALL)
precise = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
precisions = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64], ids=str)
shapes = st.tuples(st.integers(1, 5), st.integers(1, 40))
small = st.tuples(st.integers(1, 5), st.integers(1, 6))
seeds = st.integers(0, 2**16)
scales = st.sampled_from([1e-3, 0.1, 1.0, 3.0, 1e3])

# Sums of at most 40 products in double precision, of numbers up to 10.
ROUNDING = {"atol": 1e-12, "rtol": 1e-12}


def assert_inside(constraint, z):
    """Bounds, signs and the norm of a ball hold exactly, the sum and the norm of a sphere as their docstrings say."""
    slack = max(32 * torch.finfo(torch.promote_types(z.dtype, torch.float32)).eps, torch.finfo(z.dtype).eps)
    slack += 1e-14  # of the reference itself
    match constraint:
        case Box(lower, upper):
            assert (z >= torch.as_tensor(lower, dtype=z.dtype)).all()
            assert (z <= torch.as_tensor(upper, dtype=z.dtype)).all()
        case NonNegative():
            assert (z >= 0).all()
        case Simplex(total):
            assert (z >= 0).all()
            assert ((z.double().sum(-1) / total - 1).abs() <= slack).all()
        case Sphere(radius):
            assert ((z.double().norm(dim=-1) / radius - 1).abs() <= slack).all()
        case Ball(radius):
            assert (torch.linalg.vector_norm(z, dim=-1) <= radius).all()


def matrix(fn, d):
    """The matrix `(*batch, D, D)` of a map of directions that is linear."""
    return torch.stack([fn(row) for row in torch.eye(d, dtype=torch.float64)], -1)


def test_every_constraint_is_tested_here():
    assert {type(make(3)) for make in ALL.values()} == {parameter.values[0] for parameter in every("ebm.constraints")}


@constraints
@precisions
@given(shape=shapes, seed=seeds, scale=scales)
def test_a_projection_is_in_the_set_and_stays_where_it_is_bit_for_bit(make, dtype, shape, seed, scale):
    constraint = make(shape[-1])
    z = constraint.project((scale * normal(*shape, seed=seed)).to(dtype))
    assert z.dtype == dtype
    assert_inside(constraint, z)
    assert torch.equal(constraint.project(z), z)


@constraints
@precisions
@given(shape=shapes, seed=seeds)
def test_what_is_close_to_the_set_but_not_in_it_is_moved_there(make, dtype, shape, seed):
    constraint = make(shape[-1])
    inside = constraint.project(normal(*shape, seed=seed).to(dtype))
    close = inside * (1 + (4 if dtype.itemsize == 2 else 80) * torch.finfo(dtype).eps)
    assert_inside(constraint, constraint.project(close))


@constraints
@precisions
@pytest.mark.parametrize("d", [1000, 20_000])
@pytest.mark.parametrize("scale", [1e-4, 1.0])
def test_many_coordinates_change_nothing_of_that(make, dtype, d, scale):
    constraint = make(d)
    z = constraint.project((scale * normal(3, d)).to(dtype))
    assert_inside(constraint, z)
    assert torch.equal(constraint.project(z), z)


@given(seed=seeds, scale=st.sampled_from([1e-7, 1e-6, 1e-5, 1e-3]), shift=st.sampled_from([0.0, 0.3, 5.0]))
@settings(max_examples=10)
def test_a_large_coordinate_of_a_simplex_costs_many_small_ones_no_digits(seed, scale, shift):
    z = scale * normal(3, 100_000, seed=seed)
    z[:, 0] += 0.9
    z = (z + shift).float()
    projected = Simplex().project(z)
    assert_inside(Simplex(), projected)
    # 32 eps for the sum, and as much for the rounding of the large coordinate.
    assert (projected - Simplex().project(z.double())).abs().max() <= 64 * torch.finfo(z.dtype).eps


def test_the_sum_of_a_simplex_is_close_enough_to_stay_for_each_of_many_rows():
    z = 1e-6 * normal(2000, 1000)
    z[:, 0] += 0.9
    projected = Simplex().project((z + 0.3).float())
    assert torch.equal(Simplex().project(projected), projected)


@precise
@pytest.mark.parametrize("d", [3, 1000])
def test_a_projection_on_a_ball_falls_short_of_the_boundary_by_rounding_only(dtype, d):
    norms = Ball(0.3).project(normal(500, d, dtype=dtype)).double().norm(dim=-1)
    # The first margin to shrink by is 4 eps, and the unit vector is rounded by less than that again.
    assert ((1 - norms / 0.3)[norms > 0.29] <= 8 * torch.finfo(dtype).eps).all()


@convex
@given(shape=shapes, seed=seeds, scale=scales)
def test_a_projection_on_a_convex_set_is_the_nearest_point(make, shape, seed, scale):
    constraint, z = make(shape[-1]), scale * normal(*shape, seed=seed)
    nearest = constraint.project(z)
    others = constraint.project(normal(30, *shape, seed=seed + 1))
    # The variational inequality, which holds at the nearest point alone; in products of numbers up to `scale`.
    assert (((z - nearest) * (others - nearest)).sum(-1) <= 1e-12 * max(1, scale) * shape[-1]).all()


@given(shape=shapes, seed=seeds, scale=scales)
def test_no_point_of_a_sphere_is_nearer_than_the_projection(shape, seed, scale):
    z = scale * normal(*shape, seed=seed)
    others = Sphere(1.7).project(normal(30, *shape, seed=seed + 1))
    distance = (Sphere(1.7).project(z) - z).norm(dim=-1)
    assert ((others - z).norm(dim=-1) >= distance - 1e-14 * max(1, scale) * shape[-1]).all()


@convex
@given(shape=shapes, seed=seeds, scale=scales)
def test_a_projection_on_a_convex_set_brings_no_two_points_further_apart(make, shape, seed, scale):
    constraint, a = make(shape[-1]), normal(*shape, seed=seed)
    b = a + scale * normal(*shape, seed=seed + 1)
    moved = (constraint.project(a) - constraint.project(b)).norm(dim=-1)
    assert (moved <= (a - b).norm(dim=-1) + 1e-13).all()  # rounding of numbers around 1


@given(shape=shapes, seed=seeds, scale=scales, total=st.sampled_from([0.5, 1.0, 40.0]))
def test_the_projection_on_a_simplex_is_that_of_a_root_finder(shape, seed, scale, total):
    z = scale * normal(*shape, seed=seed)

    def by_root(row):
        low, high = row.min() - total - 1, row.max() + 1
        shift = brentq(lambda shift: np.maximum(row - shift, 0).sum() - total, low, high, xtol=1e-15, rtol=1e-15)
        return np.maximum(row - shift, 0)

    expected = torch.from_numpy(np.stack([by_root(row) for row in z.numpy()]))
    # A shift of size `scale`, rounded, moves each coordinate by eps times that.
    torch.testing.assert_close(Simplex(total).project(z), expected, rtol=1e-12, atol=1e-14 * max(1, scale))


@precise
@given(shape=shapes, seed=seeds)
def test_points_that_are_inside_already_return_bit_for_bit(dtype, shape, seed):
    z = normal(*shape, seed=seed, dtype=dtype)
    for constraint in (Box(-10, 10), Box(z - 1, z), Ball(100)):
        assert torch.equal(constraint.project(z), z)
    assert torch.equal(NonNegative().project(z.abs()), z.abs())
    assert torch.equal(Simplex().project(z.softmax(-1)), z.softmax(-1))
    unit = z / z.norm(dim=-1, keepdim=True)
    assert torch.equal(Sphere().project(unit), unit)


@constraints
@given(seed=seeds)
def test_each_row_is_projected_by_itself_however_it_lies_in_memory(make, seed):
    constraint, z = make(5), normal(2, 3, 5, seed=seed)
    rows = [constraint.project(row) for row in z.reshape(6, 5)]
    torch.testing.assert_close(constraint.project(z), torch.stack(rows).reshape(2, 3, 5), **ROUNDING)
    transposed = z.permute(2, 0, 1).contiguous().permute(1, 2, 0)
    torch.testing.assert_close(constraint.project(transposed), constraint.project(z), **ROUNDING)
    torch.testing.assert_close(torch.func.vmap(constraint.project)(z), constraint.project(z), **ROUNDING)
    assert constraint.project(z[:0]).shape == (0, 3, 5)


def directions(make, shape, seed):
    """A set, points of it, most of them on its boundary, and directions."""
    constraint = make(shape[-1])
    return constraint, constraint.project(2 * normal(*shape, seed=seed)), normal(*shape, seed=seed + 1)


@constraints
@given(shape=small, seed=seeds)
def test_the_tangent_is_the_limit_of_short_steps_that_are_projected(make, shape, seed):
    constraint, z, v = directions(make, shape, seed)
    step = 1e-7
    # The step leaves a curved boundary by its square, and its own rounding is eps / step = 2e-9.
    limit = (constraint.project(z + step * v) - z) / step
    torch.testing.assert_close(constraint.tangent(z, v), limit, atol=1e-5, rtol=0)


@convex
@given(shape=small, seed=seeds)
def test_a_tangent_splits_a_direction_in_two_that_are_orthogonal(make, shape, seed):
    # Moreau 1962: what the cone keeps of a direction, and what its polar cone does.
    constraint, z, v = directions(make, shape, seed)
    tangent = constraint.tangent(z, v)
    torch.testing.assert_close((tangent * (v - tangent)).sum(-1), torch.zeros(shape[0], dtype=v.dtype), **ROUNDING)
    torch.testing.assert_close(constraint.tangent(z, tangent), tangent, **ROUNDING)
    torch.testing.assert_close(constraint.tangent(z, v - tangent), torch.zeros_like(v), **ROUNDING)


@constraints
@given(shape=small, seed=seeds)
def test_the_projected_gradient_is_zero_at_the_nearest_point_and_not_elsewhere(make, shape, seed):
    constraint, z, _ = directions(make, shape, seed)
    centre = 2 * normal(*shape, seed=seed)  # z is the nearest point to it: the minimum of |z - centre|^2 / 2
    other = constraint.project(normal(*shape, seed=seed + 2))
    torch.testing.assert_close(constraint.tangent(z, centre - z), torch.zeros_like(z), **ROUNDING)
    # On a sphere the furthest point is stationary too, and on one of a single axis every point is.
    apart = (other - z).norm(dim=-1) > 1e-3
    if shape[-1] > 1 or not isinstance(constraint, Sphere):
        assert (constraint.tangent(other, centre - other).norm(dim=-1)[apart] > 1e-6).all()


@given(shape=shapes, seed=seeds)
def test_a_large_multiplier_does_not_drown_the_projected_gradient_of_a_simplex(shape, seed):
    z = Simplex().project(normal(*shape, seed=seed)).float()
    v = (normal(*shape, seed=seed + 1) + 1e4).float()
    # Of numbers around 1, although the mean that they lose is resolved to 1e-3 only.
    expected = Simplex().tangent(z.double(), v.double())
    torch.testing.assert_close(Simplex().tangent(z, v).double(), expected, atol=2e-6, rtol=0)


@constraints
@given(shape=small, seed=seeds)
def test_what_is_free_is_an_orthogonal_projection_within_the_tangent(make, shape, seed):
    constraint, z, v = directions(make, shape, seed)
    gradient = normal(*shape, seed=seed + 2)
    Q = matrix(lambda row: constraint.free(z, gradient, row.expand(shape)), shape[-1])
    torch.testing.assert_close(Q, Q.mT, **ROUNDING)
    torch.testing.assert_close(Q @ Q, Q, **ROUNDING)
    torch.testing.assert_close((Q @ v[..., None])[..., 0], constraint.free(z, gradient, v), **ROUNDING)
    K = matrix(lambda row: constraint.curvature(z, gradient, row.expand(shape)), shape[-1])
    torch.testing.assert_close(K, K.mT, **ROUNDING)
    torch.testing.assert_close(Q @ K @ Q, K, **ROUNDING)


@constraints
@given(shape=small, seed=seeds)
def test_at_a_minimum_what_is_free_can_be_followed_both_ways_without_a_change_of_energy(make, shape, seed):
    constraint, z, v = directions(make, shape, seed)
    gradient = z - 2 * normal(*shape, seed=seed)
    free = constraint.free(z, gradient, v)
    torch.testing.assert_close(constraint.tangent(z, free), free, **ROUNDING)
    torch.testing.assert_close(constraint.tangent(z, -free), -free, **ROUNDING)
    torch.testing.assert_close((gradient * free).sum(-1), torch.zeros(shape[0], dtype=z.dtype), **ROUNDING)


def test_a_coordinate_at_a_bound_is_free_where_the_gradient_does_not_hold_it():
    z, ones = torch.tensor([0.0, 0.0, 1.0, 1.0, 0.5]), torch.ones(5)
    gradient = torch.tensor([1.0, -1.0, 1.0, -1.0, 9.0])
    assert Box(0.0, 1.0).free(z, gradient, ones).tolist() == [0, 1, 1, 0, 1]
    assert NonNegative().free(z, gradient, ones).tolist() == [0, 1, 1, 1, 1]
    assert Box(0.5, 0.5).free(z, -gradient, ones).tolist() == [0, 0, 0, 0, 0]
    z, gradient = torch.tensor([0.5, 0.5, 0.0, 0.0]), torch.tensor([1.0, 1.0, 2.0, 0.0])
    assert Simplex().free(z, gradient, torch.tensor([1.0, 2.0, 9.0, 3.0])).tolist() == [-1, 0, 0, 1]


def test_a_ball_has_a_boundary_only_where_the_gradient_pushes_out():
    z, v = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 1.0]])
    out, back = torch.tensor([[0.0, -3.0]]), torch.tensor([[0.0, 3.0]])
    assert Ball(2.0).free(z, out, v).tolist() == [[1, 0]]
    assert Ball(2.0).curvature(z, out, v).tolist() == [[1.5, 0]]
    for gradient, inner in ((back, z), (out, z / 2)):
        assert Ball(2.0).free(inner, gradient, v).tolist() == [[1, 1]]
        assert Ball(2.0).curvature(inner, gradient, v).tolist() == [[0, 0]]


class Quadratic:
    """`z' A z / 2 - b' z` with the eigenvalues of `A` between 1 and 4: its minima, and how they move with `b`."""

    def __init__(self, d, seed):
        axes, _ = torch.linalg.qr(normal(d, d, seed=seed))
        self.matrix = (axes * (1 + 3 * torch.sigmoid(normal(d, seed=seed + 1)))) @ axes.T

    def gradient(self, z, b):
        return z @ self.matrix - b

    def minima(self, near, b, start):
        """For each row of `b` the fixed point of `near(z - gradient / 4)`; at least a quarter of the way a step."""
        z = start.expand(b.shape)
        for _ in range(500):
            z = near(z - self.gradient(z, b) / 4)
        return z

    def derivative(self, term, z, b):
        """`dz/db` from `(Q A Q + K) dz = Q db`."""
        d, gradient = len(b), self.gradient(z, b)
        Q = matrix(lambda v: term.free(z, gradient, v), d)
        K = matrix(lambda v: term.curvature(z, gradient, v), d)
        return torch.linalg.pinv(Q @ self.matrix @ Q + K, hermitian=True, rtol=1e-10) @ Q

    def differences(self, near, z, b):
        """`dz/db` from solves at `b` plus and minus a small number in each coordinate."""
        step = 1e-5 * torch.eye(len(b), dtype=b.dtype)
        return (self.minima(near, b + step, z) - self.minima(near, b - step, z)).T / 2e-5


MINIMA = {
    "box with active bounds": (Box(-0.2, 0.3), 2.0),
    "box with bounds out of reach": (Box(-20, 30), 2.0),
    "non-negative": (NonNegative(), 2.0),
    "simplex": (Simplex(), 2.0),
    "sphere": (Sphere(1.3), 4.0),
    "sphere, its minimum held outside of the free one": (Sphere(5.0), 4.0),
    "ball, on its boundary": (Ball(0.2), 4.0),
    "ball, inside": (Ball(50.0), 1.0),
}


@pytest.mark.parametrize(("constraint", "scale"), MINIMA.values(), ids=MINIMA)
@pytest.mark.parametrize("seed", range(4))
def test_a_minimum_moves_as_its_face_and_curvature_say(constraint, scale, seed):
    energy, b = Quadratic(5, seed), scale * normal(5, seed=seed + 9)
    z = energy.minima(constraint.project, b[None], b / scale)[0]
    assert constraint.tangent(z, -energy.gradient(z, b)).abs().max() < 1e-10  # it has converged
    expected = energy.differences(constraint.project, z, b)
    # Differences over 1e-5 of solves to 1e-14, whose third derivatives are below 1e3.
    torch.testing.assert_close(energy.derivative(constraint, z, b), expected, atol=1e-6, rtol=1e-6)


def test_the_minima_that_are_differentiated_are_held_where_their_names_say():
    def count(constraint, scale):
        energy, b = Quadratic(5, 0), scale * normal(5, seed=9)
        z = energy.minima(constraint.project, b[None], b / scale)[0]
        return 5 - round(float(matrix(lambda v: constraint.free(z, energy.gradient(z, b), v), 5).trace()))

    held = {name: count(*case) for name, case in MINIMA.items()}
    assert 0 < held["box with active bounds"] < 5
    assert 0 < held["non-negative"] < 5
    assert 1 < held["simplex"] < 5
    assert [held[name] for name in MINIMA if name.startswith(("sphere", "ball, on"))] == [1, 1, 1]
    assert held["box with bounds out of reach"] == held["ball, inside"] == 0


@constraints
@given(seed=seeds)
@settings(max_examples=5)
def test_a_projection_has_the_derivative_of_finite_differences(make, seed):
    z = (2 * normal(3, 4, seed=seed)).requires_grad_()
    assert gradcheck(make(4).project, z)


@pytest.mark.parametrize("constraint", [Simplex(), Sphere()], ids=str)
def test_a_point_that_is_not_moved_still_has_the_derivative_of_the_projection(constraint):
    z = constraint.project(normal(4).exp() / 8)
    assert (z > 0).all()  # where a simplex is flat on both sides
    moved = torch.func.jacrev(constraint.project)(z)
    torch.testing.assert_close(moved, matrix(lambda v: constraint.tangent(z, v), 4), **ROUNDING)


@constraints
@precise
def test_zeros_of_either_sign_can_be_projected_and_differentiated(make, dtype):
    constraint = make(4)
    for zero in (0.0, -0.0):
        z = torch.full((2, 4), zero, dtype=dtype, requires_grad=True)
        projected = constraint.project(z)
        assert_inside(constraint, projected.detach())
        assert torch.equal(constraint.project(projected), projected)
        projected.sum().backward()
        assert z.grad.isfinite().all()


def test_a_row_of_zeros_goes_to_the_first_axis_of_a_sphere_and_stays_in_a_ball():
    z = torch.zeros(2, 3)
    assert Sphere(2.0).project(z).tolist() == [[2, 0, 0]] * 2
    assert Ball(2.0).project(z).tolist() == z.tolist()
    assert Simplex(3.0).project(z).tolist() == [[1, 1, 1]] * 2


@constraints
@precise
@pytest.mark.parametrize("share", [0.9, 1e-3])
def test_no_size_of_number_overflows_or_vanishes(make, dtype, share):
    constraint, info = make(4), torch.finfo(dtype)
    for size in (share * info.max, info.tiny / share, info.smallest_normal * info.eps):
        rows = torch.tensor([[1.0, -0.5, 0.25, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.4, -0.5, -0.5, -0.5]], dtype=dtype)
        z = rows * size
        projected = constraint.project(z)
        assert_inside(constraint, projected)
        assert torch.equal(constraint.project(projected), projected)
        if isinstance(constraint, Sphere) and size > info.tiny:
            torch.testing.assert_close(projected, constraint.project(rows))  # the direction is that at size 1
        if isinstance(constraint, Simplex) and size > 1:
            assert torch.equal(projected, constraint.project(rows * 1e6))  # the largest takes all


@constraints
@precisions
def test_a_nan_stays_one_and_leaves_other_rows_alone(make, dtype):
    constraint, z = make(3), normal(3, 3).to(dtype)
    ill = z.clone()
    ill[1, 2] = math.nan
    projected = constraint.project(ill)
    assert projected[1, 2].isnan()
    assert torch.equal(projected[[0, 2]], constraint.project(z)[[0, 2]])


@pytest.mark.parametrize("kind", every("ebm.constraints", Constraint))
def test_a_constraint_is_frozen_and_can_be_hashed(kind):
    constraint = kind(0.0, 1.0) if kind is Box else kind()
    for field in dataclasses.fields(constraint):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(constraint, field.name, 3.0)
    same = constraint if kind is Box else kind()  # tensors have no equality, so a box is equal to itself alone
    assert constraint == same
    assert hash(constraint) == hash(same)
    assert getattr(kind, "__final__", False)


def test_bounds_take_the_dtype_of_z():
    z = normal(2, 3, dtype=torch.float32)
    projected = Box(torch.full((3,), -0.1, dtype=torch.float64), 0.1).project(z)
    assert projected.dtype == torch.float32
    assert projected.max() == torch.tensor(0.1)
    assert Box(torch.tensor([0, 1, 2]), math.inf).project(z).dtype == torch.float32
    Box(-1e300, 1e300).check(z)  # more than float32 holds: no bound at all


@constraints
def test_a_set_that_fits_passes_its_check(make):
    for z in (normal(2, 4), normal(2, 3, 4)):
        make(4).check(z)  # which raises where it does not fit
        assert make(4).project(z).shape == z.shape


@pytest.mark.parametrize(
    ("constraint", "message"),
    [
        (Box(1.0, 0.0), r"the box is empty: .* in 1 of 1 bounds; swap them"),
        (Box(torch.tensor([0.0, 2.0, 3.0]), 1.0), r"in 2 of 3 bounds"),
        (Box(math.inf, math.inf), r"the box is empty"),
        (Box(-math.inf, -math.inf), r"the box is empty"),
        (Box(math.nan, 1.0), r"`lower` holds 1 NaN: write -inf or inf for no bound"),
        (Box(0.0, torch.tensor([1.0, math.nan, math.nan])), r"`upper` holds 2 NaN"),
        (Box(torch.zeros(4), 1.0), r"`lower` of shape \(4,\) does not broadcast .* \(2, 3\): .* shape \(3,\)"),
        (Box(0.0, torch.ones(1, 2, 3)), r"`upper` of shape \(1, 2, 3\) does not broadcast"),
        (Box(0.0, torch.ones(3, requires_grad=True)), r"`upper` requires grad, .* pass `upper.detach\(\)`"),
        (Simplex(0.0), r"the `total` of a simplex is positive and finite, not 0.0"),
        (Simplex(math.nan), r"not nan"),
        (Sphere(-1.0), r"the `radius` of a sphere is positive and finite, not -1.0"),
        (Ball(0.0), r"the `radius` of a ball is positive and finite, not 0.0"),
        (Ball(math.inf), r"not inf"),
    ],
    ids=str,
)
def test_a_set_that_is_empty_or_does_not_fit_is_refused(constraint, message):
    with pytest.raises(ValueError, match=message):
        constraint.check(torch.zeros(2, 3))


@pytest.mark.parametrize("constraint", [Simplex(), Sphere(), Ball()], ids=str)
def test_sets_of_whole_rows_refuse_rows_of_nothing(constraint):
    with pytest.raises(ValueError, match=r"needs coordinates on the last axis of z, whose shape is \(2, 0\)"):
        constraint.check(torch.zeros(2, 0))
