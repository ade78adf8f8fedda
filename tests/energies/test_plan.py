import pytest
import torch
from conftest import normal
from torch import Tensor

from ebm import LBFGS, Adam, Box, FreeEnergy
from ebm.energies import Dynamics, Effort, GoalDistance, Guardrail, Plan


class Drifting(Dynamics):
    """`code + action + wind`, the wind a latent: plans have a closed form."""

    def __init__(self, wind: float = 0.0) -> None:
        super().__init__()
        self.wind = wind

    def read(self, observations: Tensor) -> Tensor:
        return observations

    def step(self, code: Tensor, action: Tensor, z: Tensor | None = None) -> Tensor:
        return code + action + (0.0 if z is None else z)

    def noise(self, codes: Tensor, generator: torch.Generator) -> Tensor | None:
        return self.wind * torch.randn(codes.shape, generator=generator, dtype=codes.dtype) if self.wind else None


def test_the_best_plan_without_a_cost_of_actions_arrives_at_once():
    x, y = normal(4, 2), normal(4, 2, seed=1)
    answer = FreeEnergy(Plan(Drifting(), horizon=3), LBFGS(tolerance=1e-9)).infer(x, y)
    torch.testing.assert_close(answer.z[:, 0], y - x, atol=1e-6, rtol=0)
    assert answer.z[:, 1:].abs().max() < 1e-6


def test_effort_spreads_a_plan_as_least_squares_do():
    x, y = torch.zeros(1, 1).double(), torch.ones(1, 1).double()
    plan = Plan(Drifting(), GoalDistance("last") + 0.5 * Effort(), horizon=4, actions=1)
    answer = FreeEnergy(plan, LBFGS(tolerance=1e-10)).infer(x, y)
    # (1 - 4 a)^2 + 0.5 * 4 a^2 is least at a = 2 / 9 ... d/da: -8 (1 - 4 a) + 4 a = 0, a = 8 / 36.
    torch.testing.assert_close(answer.z, torch.full((1, 4, 1), 8 / 36).double(), atol=1e-8, rtol=0)


def test_a_plan_keeps_to_its_box():
    x, y = torch.zeros(2, 2), torch.full((2, 2), 10.0)
    answer = FreeEnergy(Plan(Drifting(), horizon=3), Adam(rate=0.3, steps=30), within=Box(-1, 1)).infer(x, y)
    assert torch.equal(answer.z, torch.ones(2, 3, 2))


def test_the_same_model_is_turned_to_another_task_at_run_time():
    plan = Plan(Drifting(), horizon=3)
    other = plan.configured(costs=Effort(), horizon=7)
    assert other.dynamics is plan.dynamics
    assert (other.horizon, plan.horizon) == (7, 3)
    answer = FreeEnergy(other, LBFGS()).infer(normal(2, 2), None)
    assert answer.z.shape == (2, 7, 2)
    assert not answer.z.any()


def test_a_setting_that_a_plan_does_not_have_is_named():
    with pytest.raises(TypeError, match=r"no setting horzion; what can be configured is costs, horizon"):
        Plan(Drifting()).configured(horzion=3)


def test_draws_are_the_same_luck_for_every_plan_and_episode():
    plan = Plan(Drifting(wind=1.0), horizon=3, draws=5)
    codes = plan.imagine(normal(4, 2), normal(4, 3, 2, seed=1)).codes
    still = plan.imagine(torch.zeros(4, 2).double(), torch.zeros(4, 3, 2).double()).codes
    assert codes.shape == (5, 4, 3, 2)
    torch.testing.assert_close(still, still[:, :1].expand_as(still))
    without = Plan(Drifting(), horizon=3).imagine(normal(4, 2), normal(4, 3, 2, seed=1)).codes
    torch.testing.assert_close(codes - still, without.expand_as(codes))


def test_the_expected_cost_under_noise_is_the_cost_without_it_plus_its_variance():
    x, y, z = torch.zeros(1, 2).double(), torch.ones(1, 2).double(), torch.zeros(1, 1, 2).double()
    costs = Plan(Drifting(wind=0.5), horizon=1, draws=20000).cost(x, y, z)
    # 1 + 0.25; the mean of 20,000 draws of two squares errs by 1.1 / sqrt(40000), five times that.
    assert costs.item() == pytest.approx(1.25, abs=0.03)


def test_a_risk_sees_the_costs_of_all_draws():
    x, y, z = torch.zeros(3, 2).double(), torch.ones(3, 2).double(), torch.zeros(3, 1, 2).double()
    plan = Plan(Drifting(wind=0.5), horizon=1, draws=8)
    worst = plan.configured(risk=lambda costs: costs.amax(0))
    seen = plan.costs(plan.imagine(x, z), y)
    assert seen.shape == (8, 3)
    assert torch.equal(worst.cost(x, y, z), seen.amax(0))


def test_violations_tell_of_every_guardrail_and_step():
    rails = [Guardrail(lambda codes: codes[..., 0] - 1.5), Guardrail(lambda codes: -codes[..., 1], margin=0.1)]
    plan = Plan(Drifting(), horizon=2, guardrails=rails)
    found = plan.violations(torch.zeros(1, 2), torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]))
    torch.testing.assert_close(found, torch.tensor([[-0.5, 0.5, 0.1, -0.9]]))


def test_a_goal_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"a goal looks as what is seen, \(2,\), but this one is \(3,\)"):
        Plan(Drifting()).encode(torch.zeros(4, 2), torch.zeros(4, 3))


@pytest.mark.parametrize(("name", "value"), [("horizon", 0), ("actions", 0), ("draws", -1)])
def test_a_plan_of_nothing_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Plan(Drifting(), **{name: value})


def test_a_plan_without_actions_is_no_energy():
    with pytest.raises(ValueError, match="needs actions"):
        Plan(Drifting())(torch.zeros(1, 2), torch.zeros(1, 2))
