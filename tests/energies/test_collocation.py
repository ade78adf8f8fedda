import pytest
import torch
from conftest import normal
from torch import Tensor

from ebm import LBFGS, Adam, AugmentedLagrangian, Box, FreeEnergy, minimize
from ebm.energies import Collocation, Dynamics, Effort, GoalDistance, Guardrail, Plan

HORIZON, STATES, ACTIONS, EFFORT = 4, 3, 2, 0.3
A = 0.9 * torch.eye(STATES, dtype=torch.float64) + 0.2 * normal(STATES, STATES, seed=1)
B = normal(STATES, ACTIONS, seed=2)


class Linear(Dynamics):
    """`A code + B action`; counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def read(self, observations: Tensor) -> Tensor:
        return observations

    def step(self, code: Tensor, action: Tensor, z: Tensor | None = None) -> Tensor:
        self.calls += 1
        return code @ A.T.to(code) + action @ B.T.to(code)


def linear_quadratic(**settings):
    return Plan(Linear(), GoalDistance() + EFFORT * Effort(), HORIZON, ACTIONS, **settings)


def riccati(start):
    """The best actions for the goal zero, by dynamic programming backwards: the formulas of a textbook, in a loop."""
    cost, effort = torch.eye(STATES, dtype=torch.float64) / STATES, EFFORT * torch.eye(ACTIONS, dtype=torch.float64)
    ahead, gains = cost, []
    for _ in range(HORIZON):
        gain = torch.linalg.solve(effort + B.T @ ahead @ B, B.T @ ahead @ A)
        gains.insert(0, gain)
        ahead = cost + A.T @ ahead @ (A - B @ gain)
    actions = []
    for gain in gains:
        actions.append(-start @ gain.T)
        start = start @ A.T + actions[-1] @ B.T
    return torch.stack(actions, 1)


def hard(collocation, x, y, within=None, tolerance=1e-9):
    settings = AugmentedLagrangian(LBFGS(tolerance=tolerance / 10), tolerance=tolerance)
    start = collocation.latent(x, y)
    return settings.minimize_together(collocation.together, start, given=(x, y), within=within)


def test_hard_dynamics_give_the_plan_of_the_riccati_equation_and_so_does_shooting():
    x, goal = normal(4, STATES), torch.zeros(4, STATES).double()
    expected = riccati(x)
    shooting = FreeEnergy(linear_quadratic(), LBFGS(tolerance=1e-11)).infer(x, goal)
    torch.testing.assert_close(shooting.z, expected, rtol=0, atol=1e-9)  # the gradient, by a curvature above 0.6
    answer = hard(Collocation(linear_quadratic()), x, goal)
    assert answer.converged.all()
    # The dynamics are kept to 1e-9, which four steps add up and a multiplier of about 1 turns into an action.
    torch.testing.assert_close(answer.z["actions"], expected, rtol=0, atol=1e-7)
    torch.testing.assert_close(answer.energy, shooting.energy, rtol=0, atol=1e-7)


def test_the_multipliers_are_the_slope_of_the_cost_that_is_ahead():
    # Of `c_(t+1) - step(c_t, a_t) = 0`: what the cost of the rest would change by a push of the state, the costate.
    x, goal = normal(3, STATES), torch.zeros(3, STATES).double()
    plan = linear_quadratic()
    answer = hard(Collocation(plan), x, goal)
    pushes = torch.zeros(3, HORIZON, STATES, dtype=torch.float64, requires_grad=True)
    code, codes = x, []
    for t in range(HORIZON):
        code = plan.dynamics.step(code, riccati(x)[:, t]) + pushes[:, t]
        codes.append(code)
    cost = torch.stack(codes, 1).square().mean(-1).sum()
    (costate,) = torch.autograd.grad(cost, pushes)
    found = answer.equality_multipliers.reshape(3, HORIZON, STATES)
    torch.testing.assert_close(found, -costate, rtol=0, atol=1e-6)  # defects of 1e-9 by a weight of up to 1e3


def test_a_soft_plan_comes_nearer_to_it_as_the_weight_grows():
    x, goal = normal(4, STATES), torch.zeros(4, STATES).double()
    distances, defects = [], []
    for weight in (10.0, 100.0, 1000.0):
        collocation = Collocation(linear_quadratic(), weight)
        answer = FreeEnergy(collocation, LBFGS(tolerance=1e-6, steps=2000)).infer(x, goal)
        assert answer.converged.all()
        distances.append((answer.z["actions"] - riccati(x)).abs().max())
        defects.append(collocation.defects(x, answer.z).abs().max())
    # Penalties err by one over their weight, once that is large.
    for values in (distances, defects):
        assert values[0] > 4 * values[1] > 16 * values[2]


def test_a_latent_without_defects_costs_what_the_plan_does():
    x, y, actions = normal(4, STATES), normal(4, STATES, seed=3), normal(4, HORIZON, ACTIONS, seed=4)
    plan = linear_quadratic()
    collocation = Collocation(plan, weight=7.0)
    z = collocation.start(x, actions)
    assert collocation.defects(x, z).abs().max() < 1e-12  # sums of three products, in another order
    torch.testing.assert_close(collocation.cost(x, y, z), plan.cost(x, y, actions), rtol=1e-12, atol=1e-12)
    z["codes"][0, 2, 1] += 0.1
    # A code that is off is off from its past, and its future is off from it.
    expected = 0.1**2 * (1 + A[:, 1].square().sum())
    torch.testing.assert_close(collocation.defects(x, z)[0].square().sum(), expected, rtol=1e-9, atol=0)


def test_all_steps_are_evaluated_at_once():
    collocation = Collocation(linear_quadratic())
    x, y = normal(4, STATES), normal(4, STATES, seed=3)
    z = collocation.latent(x, y)
    before = collocation.plan.dynamics.calls
    collocation.cost(x, y, z)
    assert collocation.plan.dynamics.calls == before + 1


def test_actions_stay_in_their_box_and_codes_are_free():
    x, goal = 5 * normal(2, STATES), torch.zeros(2, STATES).double()
    within = {"actions": Box(-0.3, 0.3), "codes": None}
    answer = hard(Collocation(linear_quadratic()), x, goal, within=within, tolerance=1e-6)
    assert answer.feasible.all()
    assert (answer.z["actions"].abs() <= 0.3).all()
    assert answer.z["codes"].abs().max() > 0.3
    shooting = FreeEnergy(linear_quadratic(), LBFGS(tolerance=1e-9), within=Box(-0.3, 0.3)).infer(x, goal)
    assert (shooting.z.abs() == 0.3).any()
    torch.testing.assert_close(answer.z["actions"], shooting.z, rtol=0, atol=1e-4)  # four defects of 1e-6, amplified


def test_a_guardrail_is_kept_beside_the_dynamics():
    x, goal = torch.tensor([[1.0, 1.0, 1.0]]).double(), torch.zeros(1, STATES).double()
    free = hard(Collocation(linear_quadratic()), x, goal, tolerance=1e-5)
    level = float(free.z["codes"][..., 0].min()) + 0.1
    plan = linear_quadratic(guardrails=[Guardrail(lambda codes: level - codes[..., 0])])
    kept = hard(Collocation(plan), x, goal, tolerance=1e-5)
    assert kept.feasible.all()
    assert plan.violations(x, kept.z["actions"]).max() < 1e-3  # of what comes of the actions, four defects of 1e-5
    assert kept.energy > free.energy


def test_a_gradient_solver_takes_it_as_it_takes_any_energy():
    x, goal = normal(4, STATES, dtype=torch.float32), torch.zeros(4, STATES)
    collocation = Collocation(linear_quadratic(), 10.0)

    def energy(z, hx, hy):
        return collocation.cost(hx, hy, z)

    within = {"actions": Box(-1.0, 1.0), "codes": None}
    answer = minimize(energy, collocation.latent(x, goal), Adam(steps=200), given=(x, goal), within=within)
    assert (answer.energy < energy(collocation.latent(x, goal), x, goal)).all()
    assert (answer.z["actions"].abs() <= 1).all()


def test_a_plan_with_draws_has_no_one_code_of_each_step():
    with pytest.raises(ValueError, match=r"this plan has 3 draws of them: take `plan.configured\(draws=0\)`"):
        Collocation(linear_quadratic(draws=3))


@pytest.mark.parametrize("weight", [0.0, -1.0, torch.inf, torch.nan])
def test_a_weight_that_is_none_is_refused(weight):
    with pytest.raises(ValueError, match="weight of the dynamics is positive and finite"):
        Collocation(linear_quadratic(), weight)
