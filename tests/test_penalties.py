import dataclasses
import math

import pytest
import torch
from conftest import every, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.linear_model import Lasso
from test_constraints import Quadratic, matrix
from torch.autograd import gradcheck

from ebm.constraints import Ball, Box
from ebm.penalties import L1, L2, GroupL1, NonNegativeL1, Penalty

ALL = {
    "L1": L1(0.7),
    "non-negative L1": NonNegativeL1(0.7),
    "groups of 2": GroupL1(0.7, 2),
    "groups of 1": GroupL1(0.7, 1),
    "groups of 6": GroupL1(0.7, 6),
    "L2": L2(0.7),
}
penalties = pytest.mark.parametrize("penalty", ALL.values(), ids=ALL)
seeds = st.integers(0, 2**16)
steps = st.sampled_from([1e-3, 0.3, 1.0, 20.0])

# Sums of 6 products in double precision, of numbers up to 20.
ROUNDING = {"atol": 1e-12, "rtol": 1e-12}


def test_every_penalty_is_tested_here():
    tested = {type(penalty) for penalty in ALL.values()}
    assert tested == {parameter.values[0] for parameter in every("ebm.penalties")}


def test_the_cost_is_that_of_its_formula():
    z = torch.tensor([[3.0, 4.0, 0.0, 0.0], [1.0, 0.0, 0.0, 2.0]])
    assert L1(2.0)(z).tolist() == [14, 6]
    assert L1(2.0)(-z).tolist() == [14, 6]
    assert NonNegativeL1(2.0)(z).tolist() == [14, 6]
    assert NonNegativeL1(2.0)(z - 1e-6).tolist() == [math.inf, math.inf]
    assert GroupL1(2.0, 2)(z).tolist() == [10, 6]
    assert L2(2.0)(z).tolist() == [25, 5]


@penalties
@given(seed=seeds, step=steps, scale=st.sampled_from([0.1, 1.0, 5.0]))
def test_the_prox_is_the_minimum_that_strong_convexity_tells(penalty, seed, step, scale):
    z = scale * normal(4, 6, seed=seed)
    nearest = penalty.prox(z, step)

    def objective(u):
        return penalty(u) + (u - z).square().sum(-1) / (2 * step)

    # What is strongly convex by 1 / step grows at least as fast as this from its minimum, and from nowhere else.
    for size in (1e-3, 1.0, 10.0):
        u = nearest + size * normal(50, 4, 6, seed=seed + 1)
        growth = (u - nearest).square().sum(-1) / (2 * step)
        # Rounding of a sum of squares over 2 step.
        rounding = 1e-13 * (1 + objective(nearest) + growth)
        assert (objective(u) >= objective(nearest) + growth - rounding).all()


@pytest.mark.parametrize("penalty", [L1(0.7), NonNegativeL1(0.7), L2(0.7)], ids=str)
@given(z=st.floats(-3, 3), step=st.sampled_from([0.1, 1.0, 3.0]))
def test_the_prox_of_a_coordinate_is_that_of_scipy(penalty, z, step):
    def objective(u):
        return float(penalty(torch.tensor([u], dtype=torch.float64))) + (u - z) ** 2 / (2 * step)

    low = 0.0 if isinstance(penalty, NonNegativeL1) else -4.0
    found = minimize_scalar(objective, bounds=(low, 4.0), method="bounded", options={"xatol": 1e-9})
    # A line search compares energies, and cannot place a minimum better than by the root of their rounding.
    torch.testing.assert_close(
        float(penalty.prox(torch.tensor([z], dtype=torch.float64), step)), found.x, atol=1e-6, rtol=0
    )


@given(seed=seeds, step=steps)
def test_a_prox_of_a_norm_is_what_the_projection_on_the_ball_of_its_dual_leaves(seed, step):
    # Moreau 1962: z = prox of f at z + prox of the conjugate of f, which for a norm is a projection.
    z, reach = normal(4, 6, seed=seed), 0.7 * step
    torch.testing.assert_close(L1(0.7).prox(z, step), z - Box(-reach, reach).project(z), **ROUNDING)
    groups = z.reshape(4, 3, 2)
    left = (groups - Ball(reach).project(groups)).reshape(4, 6)
    torch.testing.assert_close(GroupL1(0.7, 2).prox(z, step), left, **ROUNDING)


@penalties
@given(seed=seeds, step=steps)
def test_a_prox_brings_no_two_points_further_apart(penalty, seed, step):
    a, b = normal(4, 6, seed=seed), normal(4, 6, seed=seed + 1)
    apart = (penalty.prox(a, step) - penalty.prox(b, step)).norm(dim=-1)
    assert (apart <= (a - b).norm(dim=-1) + 1e-14).all()  # rounding of numbers around 1


@penalties
def test_each_sample_takes_a_step_of_its_own(penalty):
    z, step = normal(2, 3, 6), 0.1 + normal(2, 3, 1, seed=1).abs()
    for i in range(2):
        for j in range(3):
            alone = penalty.prox(z[i, j], float(step[i, j]))
            torch.testing.assert_close(penalty.prox(z, step)[i, j], alone, **ROUNDING)


@penalties
@given(seed=seeds, step=steps)
def test_the_subgradient_is_zero_at_a_fixed_point_of_the_proximal_step(penalty, seed, step):
    z = normal(4, 6, seed=seed)
    fixed = penalty.prox(z, step)  # = prox(fixed - step gradient) with this gradient
    gradient = (fixed - z) / step
    # A difference of numbers around 1, over the step.
    torch.testing.assert_close(penalty.subgradient(fixed, gradient), torch.zeros_like(z), rtol=0, atol=1e-14 / step)


@penalties
@given(seed=seeds)
def test_the_subgradient_is_the_gradient_where_there_is_one(penalty, seed):
    z, gradient = normal(4, 6, seed=seed).abs(), normal(4, 6, seed=seed + 1)
    expected = gradient + torch.func.grad(lambda z: penalty(z).sum())(z)
    torch.testing.assert_close(penalty.subgradient(z, gradient), expected, **ROUNDING)


def kinked(penalty, seed):
    """Points with some coordinates on a kink of the penalty, and gradients of which some are weak, some strong."""
    z = penalty.prox(normal(4, 6, seed=seed), 1.0)
    return z, torch.tensor([[0.1], [0.5], [1.0], [3.0]]) * normal(4, 6, seed=seed + 1)


@penalties
@given(seed=seeds)
def test_the_subgradient_points_away_from_where_it_goes_down_fastest_and_says_how_fast(penalty, seed):
    z, gradient = kinked(penalty, seed)
    slope = penalty.subgradient(z, gradient)
    step = 1e-7

    def derivative(v):
        return (gradient * v).sum(-1) + (penalty(z + step * v) - penalty(z)) / step

    # Of order `step` for the curvature, and eps / step for rounding.
    steepest = -slope / slope.norm(dim=-1, keepdim=True).clamp_min(1e-300)
    torch.testing.assert_close(derivative(steepest), -slope.norm(dim=-1), atol=1e-5, rtol=0)
    others = torch.nn.functional.normalize(normal(50, 4, 6, seed=seed + 2), dim=-1)
    assert (derivative(others) >= -slope.norm(dim=-1) - 1e-5).all()


def test_what_passes_a_kink_on_the_way_stops_there_and_the_rest_arrives():
    z = torch.tensor([1.0, -1.0, 2.0, 0.0, -3.0, 1.0])
    to = torch.tensor([-2.0, 1.0, 1.0, 5.0, 1.0, -1.0])
    assert L1(0.7).stopped(z, to).tolist() == [0, 0, 1, 5, 0, 0]
    assert NonNegativeL1(0.7).stopped(z.relu(), to).tolist() == [0, 1, 1, 5, 1, 0]
    # The products of the pairs are -3, 2 and -4: a group stops where it leaves its half-space.
    assert GroupL1(0.7, 2).stopped(z, to).tolist() == [0, 0, 1, 5, 0, 0]
    assert torch.equal(L2(0.7).stopped(z, to), to)


@penalties
@given(seed=seeds)
def test_what_is_free_keeps_zeros_and_carries_the_hessian_of_the_penalty(penalty, seed):
    z, gradient = kinked(penalty, seed)
    for row, slope in zip(z, gradient, strict=True):
        Q = matrix(lambda v, row=row, slope=slope: penalty.free(row, slope, v), 6)
        K = matrix(lambda v, row=row, slope=slope: penalty.curvature(row, slope, v), 6)
        torch.testing.assert_close(Q, Q.T, **ROUNDING)
        torch.testing.assert_close(Q @ Q, Q, **ROUNDING)
        zeros = (row == 0) & (not isinstance(penalty, L2))
        assert torch.equal(Q, (~zeros).diag().to(Q.dtype))
        hessian = torch.autograd.functional.hessian(lambda z: penalty(z), row)
        torch.testing.assert_close(K, Q @ hessian.nan_to_num() @ Q, **ROUNDING)


@pytest.mark.parametrize(
    ("penalty", "sparse", "seed"),
    [
        *((L1(0.8), True, seed) for seed in (0, 1, 2)),
        *((NonNegativeL1(0.1), True, seed) for seed in (2, 4, 5)),
        *((GroupL1(1.2, 2), True, seed) for seed in (1, 2, 4)),  # of which some groups are zero
        *((GroupL1(0.1, 3), False, seed) for seed in (0, 1, 2)),
        *((L2(0.7), False, seed) for seed in (0, 1, 2)),
    ],
    ids=str,
)
def test_a_minimum_moves_as_its_support_and_curvature_say(penalty, sparse, seed):
    energy, b = Quadratic(6, seed), 3 * torch.nn.functional.normalize(normal(6, seed=seed + 20), dim=0)

    def near(z):
        return penalty.prox(z, 0.25)

    z = energy.minima(near, b[None], b)[0]
    assert (z != 0).any()
    assert (z == 0).any() == sparse
    assert penalty.subgradient(z, energy.gradient(z, b)).abs().max() < 1e-10  # it has converged
    # Differences over 1e-5 of solves to 1e-14, whose third derivatives are below 1e3.
    expected = energy.differences(near, z, b)
    torch.testing.assert_close(energy.derivative(penalty, z, b), expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("positive", [False, True])
def test_proximal_steps_find_the_code_of_scikit_learn(positive):
    atoms, x = normal(20, 8), normal(20, seed=1)
    penalty = NonNegativeL1(2.0) if positive else L1(2.0)
    rate = 1 / torch.linalg.matrix_norm(atoms, 2) ** 2
    z = torch.zeros(8, dtype=torch.float64)
    for _ in range(500):
        z = penalty.prox(z - rate * atoms.T @ (atoms @ z - x), float(rate))
    # Its squared error is a mean over 20 samples, and its tolerance a duality gap.
    lasso = Lasso(alpha=2.0 / 20, fit_intercept=False, positive=positive, tol=1e-12, max_iter=10_000)
    expected = torch.from_numpy(lasso.fit(atoms.numpy(), x.numpy()).coef_)
    assert 0 < (expected == 0).sum() < 8
    assert torch.equal(z == 0, expected == 0)
    torch.testing.assert_close(z, expected, atol=1e-6, rtol=0)


@penalties
@given(seed=seeds)
@settings(max_examples=5)
def test_a_prox_has_the_derivatives_of_finite_differences(penalty, seed):
    z, step = normal(3, 6, seed=seed).requires_grad_(), (0.2 + normal(3, 1, seed=seed + 1).abs()).requires_grad_()
    assert gradcheck(penalty.prox, (z, step))


@penalties
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_zeros_have_a_cost_a_prox_and_derivatives_of_the_dtype_of_z(penalty, dtype):
    z = torch.zeros(2, 6, dtype=dtype, requires_grad=True)
    cost, nearest = penalty(z), penalty.prox(z, 0.5)
    assert cost.dtype == nearest.dtype == dtype
    assert cost.tolist() == [0, 0]
    assert (nearest == 0).all()
    (cost.sum() + nearest.sum()).backward()
    assert z.grad.isfinite().all()
    for done in (penalty.free(z, z, z), penalty.curvature(z, z, z), penalty.subgradient(z, z)):
        assert done.dtype == dtype
        assert (done == 0).all()


@penalties
def test_a_nan_stays_one_and_leaves_other_rows_alone(penalty):
    z = normal(3, 6)
    ill = z.clone()
    ill[1, 2] = math.nan
    assert penalty(ill).isnan().tolist() == [False, True, False]
    assert penalty.prox(ill, 0.1)[1, 2].isnan()
    assert penalty.subgradient(ill, ill)[1, 2].isnan()
    assert torch.equal(penalty.prox(ill, 0.1)[[0, 2]], penalty.prox(z, 0.1)[[0, 2]])


@penalties
def test_samples_may_have_any_leading_axes_or_be_none(penalty):
    z = normal(2, 3, 6)
    torch.testing.assert_close(penalty(z).flatten(), penalty(z.reshape(6, 6)), **ROUNDING)
    assert penalty(z[0, 0]).shape == ()
    assert penalty(z[:0]).shape == (0, 3)
    assert penalty.prox(z[:0], 0.1).shape == (0, 3, 6)
    penalty.check(z)


@penalties
def test_no_strength_is_no_penalty(penalty):
    nothing = dataclasses.replace(penalty, strength=0.0)
    z = normal(3, 6).abs()
    assert nothing(z).tolist() == [0, 0, 0]
    torch.testing.assert_close(nothing.prox(z, 0.5), z, **ROUNDING)
    assert torch.equal(nothing.subgradient(z, -z), -z)


@penalties
def test_a_penalty_is_frozen_final_and_can_be_hashed(penalty):
    with pytest.raises(dataclasses.FrozenInstanceError):
        penalty.strength = 3.0
    assert hash(penalty) == hash(dataclasses.replace(penalty))
    assert isinstance(penalty, Penalty)
    assert getattr(type(penalty), "__final__", False)


@penalties
@pytest.mark.parametrize("strength", [-1.0, math.nan, math.inf])
def test_a_strength_that_is_no_strength_is_refused(penalty, strength):
    message = f"the `strength` of {type(penalty).__name__} is a number that is not negative, not {strength}"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(penalty, strength=strength)


def test_groups_that_do_not_divide_z_are_refused():
    message = r"does not split into groups of 4: its shape is \(2, 6\); take a `size` that divides it"
    for use in (GroupL1(1.0, 4), GroupL1(1.0, 4).check, lambda z: GroupL1(1.0, 4).prox(z, 0.1)):
        with pytest.raises(ValueError, match=message):
            use(torch.zeros(2, 6))
    with pytest.raises(ValueError, match="the `size` of a group is at least 1, not 0"):
        GroupL1(1.0, 0)
