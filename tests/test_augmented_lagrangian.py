import dataclasses

import numpy as np
import pytest
import scipy.optimize
import torch
from conftest import normal
from hypothesis import given, settings
from hypothesis import strategies as st

from ebm import LBFGS, Adam, AugmentedLagrangian, Box, CrossEntropyMethod, ProjectedGradient, Restarts, Status

TIGHT = AugmentedLagrangian(LBFGS(tolerance=1e-9), tolerance=1e-8)


def distance(z, center):
    return (z - center).square().sum(-1) / 2


def below(normal_, level):
    """`a'z <= b`."""
    return lambda z, *_: (z * normal_).sum(-1) - level


def test_the_nearest_point_of_a_half_space_and_its_multiplier_in_closed_form():
    center = normal(20, 3)
    a = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)
    answer = TIGHT.minimize(distance, torch.zeros_like(center), given=(center,), inequality=below(a, 0.5))
    multiplier = ((center @ a - 0.5) / 9).relu()  # a'a = 9
    assert answer.converged.all()
    # The tolerance of the constraint over |a|, and of the gradient.
    torch.testing.assert_close(answer.z, center - multiplier[:, None] * a, rtol=0, atol=1e-8)
    torch.testing.assert_close(answer.inequality_multipliers[:, 0], multiplier, rtol=0, atol=1e-7)
    assert (multiplier > 0).any()
    assert (multiplier == 0).any()
    assert answer.equality_multipliers.shape == (20, 0)


def test_the_nearest_point_of_a_line_and_its_multipliers_in_closed_form():
    center = normal(5, 4)
    rows = normal(2, 4, seed=1)
    levels = normal(2, seed=2)
    answer = TIGHT.minimize(distance, center, given=(center,), equality=lambda z, _: z @ rows.T - levels)
    multipliers = torch.linalg.solve(rows @ rows.T, (center @ rows.T - levels).T).T
    assert answer.converged.all()
    torch.testing.assert_close(answer.z, center - multipliers @ rows, rtol=0, atol=1e-7)  # 1e-8 through the inverse
    torch.testing.assert_close(answer.equality_multipliers, multipliers, rtol=0, atol=1e-6)


@given(seed=st.integers(0, 2**16), d=st.integers(2, 5), m=st.integers(1, 3), k=st.integers(0, 1))
@settings(max_examples=8)
def test_a_quadratic_program_and_its_multipliers_are_those_of_slsqp(seed, d, m, k):
    root, center = normal(d, d, seed=seed), normal(d, seed=seed + 1)
    hessian = root @ root.T / d + torch.eye(d, dtype=torch.float64)
    inner, outer = normal(m, d, seed=seed + 2), normal(k, d, seed=seed + 3)
    # Some point satisfies all of them.
    inside = normal(d, seed=seed + 4)
    levels, values = inner @ inside + 0.1, outer @ inside

    def fn(z):
        return ((z - center) @ hessian * (z - center)).sum(-1) / 2

    answer = TIGHT.minimize(
        fn,
        torch.zeros(1, d, dtype=torch.float64),
        inequality=lambda z: z @ inner.T - levels,
        equality=(lambda z: z @ outer.T - values) if k else None,
    )
    reference = scipy.optimize.minimize(
        lambda z: float(fn(torch.from_numpy(z))),
        np.zeros(d),
        jac=lambda z: (hessian @ (torch.from_numpy(z) - center)).numpy(),
        method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": lambda z: levels.numpy() - inner.numpy() @ z, "jac": lambda z: -inner.numpy()},
            *([{"type": "eq", "fun": lambda z: outer.numpy() @ z - values.numpy()}] if k else []),
        ],
        options={"ftol": 1e-14, "maxiter": 500},
    )
    # SLSQP ends when the energy falls by 1e-14, with a curvature of at least 1: 1e-7 away or nearer.
    torch.testing.assert_close(answer.z[0], torch.from_numpy(reference.x), rtol=0, atol=1e-5)
    assert answer.feasible.all()
    # The gradient is held up by the constraints with these multipliers, and none pushes from where there is room.
    u, v = answer.inequality_multipliers[0], answer.equality_multipliers[0]
    gradient = hessian @ (answer.z[0] - center) + inner.T @ u + outer.T @ v
    assert gradient.abs().max() < 1e-7  # the tolerance, and a multiplier that is rounded
    assert (u >= 0).all()
    assert (u * (inner @ answer.z[0] - levels)).abs().max() < 1e-6


def test_a_constraint_that_is_curved_is_kept_too():
    # The point of the unit circle nearest to (3, 4), where the multiplier of |z|^2 - 1 is (5 - 1) / 2.
    center = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    answer = TIGHT.minimize(distance, 0.1 * center, given=(center,), equality=lambda z, _: z.square().sum(-1) - 1)
    torch.testing.assert_close(answer.z, center / 5, rtol=0, atol=1e-7)
    torch.testing.assert_close(answer.equality_multipliers, torch.tensor([[2.0]]).double(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("held", ["given", "in the function"])
def test_the_answer_of_a_sample_does_not_depend_on_the_others(held):
    center = normal(6, 2)
    limit = torch.tensor([-1.0, 0.0, 0.5, 3.0, torch.nan, -2.0], dtype=torch.float64)
    settings_ = AugmentedLagrangian(ProjectedGradient())

    def solve(center, limit):
        def inequality(z, limit):
            # One is impossible: a sum of squares below a negative number.
            return torch.stack([z.sum(-1) - limit, torch.where(limit == -1, z.square().sum(-1) + 0.3, -1)], -1)

        if held == "given":
            return settings_.minimize(
                lambda z, c, _: distance(z, c),
                torch.zeros_like(center),
                given=(center, limit),
                inequality=lambda z, _, limit: inequality(z, limit),
            )
        return settings_.minimize(
            lambda z: distance(z, center), torch.zeros_like(center), inequality=lambda z: inequality(z, limit)
        )

    together = solve(center, limit)
    assert together.feasible.tolist() == [False, True, True, True, False, True]
    assert together.minimum.status[4] == Status.NOT_FINITE
    for i in range(6):
        alone = solve(center[i : i + 1], limit[i : i + 1])
        assert torch.equal(alone.z[0], together.z[i])
        assert alone.minimum.evaluations[0] == together.minimum.evaluations[i]
        assert alone.minimum.steps[0] == together.minimum.steps[i]
        assert torch.equal(alone.inequality_multipliers[0], together.inequality_multipliers[i])
        assert alone.violation[0] == together.violation[i]


def test_where_nothing_is_feasible_the_least_violating_point_is_returned_and_said_so():
    center = normal(3, 2)
    # z0 <= 0 and z0 >= 1: in the least squares sense z0 = 1/2, with 1/2 of each broken.
    answer = AugmentedLagrangian().minimize(
        distance,
        torch.zeros_like(center),
        given=(center,),
        inequality=lambda z, _: torch.stack([z[..., 0], 1 - z[..., 0]], -1),
    )
    assert not answer.feasible.any()
    assert not answer.converged.any()
    torch.testing.assert_close(answer.z[:, 0], torch.full((3,), 0.5).double(), rtol=0, atol=1e-4)  # the tolerance
    torch.testing.assert_close(answer.violation, torch.full((3,), 0.5).double(), rtol=0, atol=1e-4)
    assert "3 of 3 infeasible, by 0.5 to 0.5" in answer.summary()
    with pytest.raises(RuntimeError, match=r"the constraints are not kept.*\n.*breaks them least"):
        answer.raise_if_infeasible()


def test_only_the_infeasible_ones_are_told_so():
    center, limit = normal(4, 2), torch.tensor([-1.0, 1.0, 1.0, 2.0], dtype=torch.float64)
    answer = AugmentedLagrangian().minimize(
        lambda z, c, _: distance(z, c),
        torch.zeros_like(center),
        given=(center, limit),
        inequality=lambda z, _, limit: z.square().sum(-1) - limit,
    )
    assert answer.feasible.tolist() == [False, True, True, True]
    torch.testing.assert_close(answer.violation[0].item(), 1.0, rtol=0, atol=1e-6)  # at z = 0, of gradient 1e-4
    assert "1 of 4 infeasible" in answer.summary()
    assert "3 of 3 converged" in answer.summary()


def test_what_keeps_to_its_constraints_anyway_takes_one_round():
    center = normal(4, 2)
    answer = TIGHT.minimize(distance, torch.zeros_like(center), given=(center,), inequality=lambda z, _: z - 10)
    torch.testing.assert_close(answer.z, center, rtol=0, atol=1e-9)  # the tolerance of the gradient
    assert (answer.inequality_multipliers == 0).all()
    once = dataclasses.replace(TIGHT, rounds=1).minimize(
        distance, torch.zeros_like(center), given=(center,), inequality=lambda z, _: z - 10
    )
    assert torch.equal(once.minimum.evaluations, answer.minimum.evaluations)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "solver", [ProjectedGradient(), LBFGS(), Adam(steps=60), CrossEntropyMethod(steps=20)], ids=repr
)
def test_the_box_is_kept_to_the_last_bit_beside_other_constraints(solver, dtype):
    box, seen = Box(-0.1, 0.7), []  # float32 has neither
    center = 3 * normal(5, 3, dtype=dtype)

    def fn(z, c):
        seen.append(z.clone())
        return distance(z, c)

    answer = AugmentedLagrangian(solver, tolerance=1e-2).minimize(
        fn, torch.zeros_like(center), given=(center,), inequality=lambda z, _: z.sum(-1) - 0.9, within=box
    )
    everywhere = torch.cat([*seen, answer.z])
    assert torch.equal(box.project(everywhere), everywhere)
    assert answer.feasible.all()
    assert (answer.z.sum(-1) <= 0.9 + 1e-2 + 1e-6).all()


def test_evaluations_and_steps_are_over_all_rounds():
    center = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    calls = []

    def counted(z, c):
        calls.append(len(z))
        return distance(z, c)

    def solve(rounds):
        calls.clear()
        settings_ = AugmentedLagrangian(LBFGS(), rounds=rounds)
        answer = settings_.minimize(
            counted, torch.zeros(1, 2, dtype=torch.float64), given=(center,), equality=lambda z, _: z[..., 0] - 1
        )
        return answer.minimum, sum(calls)

    counts, calls_made = zip(*(solve(rounds) for rounds in (1, 2, 3)), strict=True)
    evaluations = [int(count.evaluations) for count in counts]
    assert evaluations == sorted(set(evaluations))
    assert [int(count.steps) for count in counts] == sorted({int(count.steps) for count in counts})
    # Besides, `minimize` looks once more at its start and at each answer.
    assert all(told <= made <= told + 2 + 2 * 4 for told, made in zip(evaluations, calls_made, strict=True))


def test_a_function_that_returns_all_three_at_once_gives_the_same_answer():
    center = normal(4, 2)

    def together(z, c):
        return distance(z, c), z[..., 0], z[..., 1] - 0.5

    separate = TIGHT.minimize(
        distance,
        torch.zeros_like(center),
        given=(center,),
        inequality=lambda z, _: z[..., 0],
        equality=lambda z, _: z[..., 1] - 0.5,
    )
    at_once = TIGHT.minimize_together(together, torch.zeros_like(center), given=(center,))
    assert torch.equal(separate.z, at_once.z)
    assert torch.equal(separate.equality_multipliers, at_once.equality_multipliers)


def test_trees_and_several_batch_axes_keep_their_shapes():
    start = {"a": torch.zeros(2, 3, 4, dtype=torch.float64), "b": torch.zeros(2, 3, 2, 5, dtype=torch.float64)}
    center = normal(2, 3)

    def fn(z, center):
        return (z["a"] - center[..., None]).square().sum(-1) + (z["b"] - 1).square().sum((-1, -2))

    answer = TIGHT.minimize(fn, start, given=(center,), inequality=lambda z, _: z["b"].sum(-1) - 1)
    assert answer.z["b"].shape == (2, 3, 2, 5)
    assert answer.violation.shape == answer.energy.shape == answer.feasible.shape == (2, 3)
    assert answer.inequality_multipliers.shape == (2, 3, 2)
    torch.testing.assert_close(answer.z["b"], torch.full((2, 3, 2, 5), 0.2).double(), rtol=0, atol=1e-7)  # a tolerance
    torch.testing.assert_close(answer.z["a"], center[..., None].expand(2, 3, 4), rtol=0, atol=1e-8)


def test_the_best_of_several_starts_is_taken():
    def double_well(z):
        return (z.square() - 1).square().sum(-1) + 0.3 * z.sum(-1)

    start = torch.full((3, 1), 1.0, dtype=torch.float64)
    one = AugmentedLagrangian().minimize(double_well, start, inequality=lambda z: z - 2)
    many = AugmentedLagrangian().minimize(double_well, start, inequality=lambda z: z - 2, restarts=Restarts(8, 2.0))
    assert (one.z > 0).all()
    assert (many.z < 0).all()


def test_a_start_that_is_feasible_is_never_left_for_an_answer_that_is_not():
    start = torch.zeros(2, 1, dtype=torch.float64)
    answer = AugmentedLagrangian(Adam(steps=1, rate=3.0), rounds=1).minimize(
        lambda z: -z.sum(-1), start, inequality=lambda z: z - 1
    )
    assert torch.equal(answer.z, start)
    assert answer.feasible.all()
    assert not answer.converged.any()


def test_a_constraint_that_becomes_nan_on_the_way_fails_that_sample_alone():
    center = torch.tensor([[2.0], [2.0]], dtype=torch.float64)
    ill = torch.tensor([True, False])

    def inequality(z, _, ill):
        return torch.where(ill[..., None] & (z > 0.5), torch.nan, z - 1)

    answer = AugmentedLagrangian().minimize(
        lambda z, c, _: distance(z, c), torch.zeros_like(center), given=(center, ill), inequality=inequality
    )
    assert answer.z.isfinite().all()
    assert answer.violation.isfinite().all()
    assert answer.converged.tolist() == [False, True]
    torch.testing.assert_close(answer.z[1].item(), 1.0, rtol=0, atol=1e-4)  # the tolerance


def test_a_batch_of_none_is_no_error():
    answer = AugmentedLagrangian().minimize(
        distance, torch.zeros(0, 2), given=(torch.zeros(0, 2),), inequality=lambda z, _: z[..., 0]
    )
    assert answer.z.shape == (0, 2)
    assert answer.feasible.shape == (0,)


def test_nothing_is_recorded_for_derivatives():
    center = normal(3, 2).requires_grad_()
    answer = AugmentedLagrangian().minimize(
        distance, torch.zeros(3, 2).double(), given=(center,), equality=lambda z, _: z[..., 0]
    )
    assert not answer.z.requires_grad
    assert not answer.energy.requires_grad


@pytest.mark.parametrize(
    ("values", "came"),
    [
        (lambda z: z[:2].sum(-1), r"shape \(2,\)"),
        (lambda z: z.sum(), r"shape \(\)"),
        (lambda z: z[..., 0] > 0, "torch.bool"),
        (lambda z: None if z is None else "ok", "'ok'"),
    ],
    ids=["rows", "scalar", "bool", "string"],
)
def test_what_is_no_number_for_each_sample_is_refused(values, came):
    with pytest.raises(ValueError, match=rf"the inequality of a batch \(3,\).*{came}"):
        AugmentedLagrangian().minimize(lambda z: z.square().sum(-1), torch.ones(3, 2), inequality=values)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rounds": 0}, "at least 1 of its rounds, not 0"),
        ({"tolerance": 0.0}, "`tolerance` is positive and finite, not 0.0"),
        ({"weight": -1.0}, "`weight` is positive"),
        ({"growth": 1.0}, "`growth` above 1"),
        ({"fall": 1.0}, "`fall` from 0 to below 1"),
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        AugmentedLagrangian(**wrong)
