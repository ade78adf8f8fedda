"""What a plan and what follows it do with input that cannot be right: each case is defined, and none is silent."""

import pytest
import torch
from line_world import Line
from torch import Tensor, nn

from ebm import LBFGS, MPPI, Adam, AugmentedLagrangian, Box, CrossEntropyMethod, FreeEnergy, ProjectedGradient
from ebm.energies import Collocation, Critic, Dynamics, Effort, GoalDistance, Guardrail, Plan
from ebm.planning import ModelPredictiveControl, TrueDynamics, play

SOLVERS = {
    "gradient": Adam(rate=0.3, steps=20, tolerance=0),
    "projected": ProjectedGradient(steps=20),
    "cem": CrossEntropyMethod(population=32, elites=4, steps=4),
    "mppi": MPPI(population=32, steps=4),
}
solvers = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


def plan(**options):
    return Plan(TrueDynamics(Line()), **({"horizon": 4, "actions": 1} | options))


def control(asked=None, solver=SOLVERS["gradient"], **options):
    return ModelPredictiveControl(plan() if asked is None else asked, solver, **options)


class Ill(Dynamics):
    """`code + action / 10`, but NaN from codes that are `beyond` something."""

    def __init__(self, beyond: float) -> None:
        super().__init__()
        self.beyond = beyond

    def read(self, observations: Tensor) -> Tensor:
        return observations

    def step(self, code: Tensor, action: Tensor, z: Tensor | None = None) -> Tensor:
        return torch.where(code > self.beyond, torch.nan, code + action.clamp(-1, 1) / 10)


# An action outside of the box


@solvers
@pytest.mark.parametrize("far", [1.5, 1e6])
def test_a_start_outside_of_the_box_is_put_back_first(solver, far):
    agent = control(solver=solver)
    agent.actions, agent.done = torch.full((2, 4, 1), far), 1
    assert (agent.act(torch.zeros(2, 1), -torch.ones(2, 1)).abs() <= 1).all()
    assert (agent.actions.abs() <= 1).all()


@solvers
def test_a_box_of_another_size_is_kept_too(solver):
    agent = control(solver=solver, within=Box(-0.3, 0.1))
    played = play(Line(), agent, 2)
    assert (played.actions >= -0.3).all()
    assert (played.actions <= 0.1).all()


def test_without_a_box_what_a_plan_asks_for_beyond_the_worlds_is_counted():
    played = play(Line(), control(within=None), 2)
    assert (played.outside > 0).all()
    assert (played.states <= 0.1 * torch.arange(13)[:, None] + 1e-6).all()  # nothing is gained


@pytest.mark.parametrize(
    ("within", "message"),
    [
        (Box(torch.tensor([-1.0, -1.0]), 1.0), r"`lower` of shape \(2,\) does not broadcast"),
        (Box(1.0, -1.0), "the box is empty"),
        (Box(torch.nan, 1.0), "`lower` holds 1 NaN"),
    ],
    ids=["shape", "empty", "nan"],
)
def test_a_box_that_cannot_be_is_refused(within, message):
    with pytest.raises(ValueError, match=message):
        control(within=within).act(torch.zeros(2, 1), torch.ones(2, 1))


def test_a_plan_of_more_actions_than_the_world_has_is_refused_when_it_is_played():
    with pytest.raises(ValueError, match="actions in Line have 1 features, those of the plan have 2"):
        play(Line(), control(plan(actions=2)), 2)


# A goal of another shape


def test_a_goal_that_looks_otherwise_than_what_is_seen_is_refused():
    with pytest.raises(ValueError, match=r"a goal looks as what is seen, \(1,\), but this one is \(2,\)"):
        control().act(torch.zeros(3, 1), torch.ones(3, 2))


def test_goals_for_another_number_of_episodes_are_refused():
    with pytest.raises(ValueError, match=r"a goal for each of 3 episodes, .* these are 2"):
        control().act(torch.zeros(3, 1), torch.ones(2, 1))


def test_one_goal_serves_all_episodes():
    seen = torch.tensor([[0.0], [0.2], [-0.4]])
    one, each = (control().act(seen, torch.full((count, 1), 0.1)) for count in (1, 3))
    assert torch.equal(one, each)


def test_no_goal_where_a_cost_asks_for_one_is_said():
    with pytest.raises(ValueError, match="a distance from the goal needs one"):
        control().act(torch.zeros(3, 1), None)
    assert not control(plan(costs=Effort())).act(torch.zeros(3, 1), None).any()


@pytest.mark.parametrize("cost", ["guardrail", "critic"])
def test_what_is_no_number_for_each_code_is_refused(cost):
    def total(codes):
        return codes.sum((-1, -2))

    class Total(nn.Module):
        def forward(self, codes):
            return total(codes)

    asked = plan(guardrails=[Guardrail(total)]) if cost == "guardrail" else plan(costs=Critic(Total()))
    with pytest.raises(ValueError, match=r"one number for each code: of codes \(2, 4, 1\) it is \(2, 4\).* \(2,\)"):
        control(asked).act(torch.zeros(2, 1), torch.ones(2, 1))


# A guardrail that no plan keeps


@solvers
def test_a_guardrail_that_cannot_be_kept_is_counted_in_its_episode_and_broken_least(solver):
    # In one step of 0.1 at most no episode comes below -0.2 from 0; the second one is there.
    asked = plan(guardrails=[Guardrail(lambda codes: codes[..., 0] + 0.2)])
    agent = control(asked, solver)
    with pytest.warns(RuntimeWarning, match="keeps to its guardrails in 1 of 2 episodes"):
        action = agent.act(torch.tensor([[0.0], [-0.4]]), torch.ones(2, 1))
    assert agent.infeasible.tolist() == [1, 0]
    assert action[0].item() < -0.7  # away from what it breaks, as hard as a search of four populations finds
    assert agent.act(torch.tensor([[0.0], [-0.4]]), torch.ones(2, 1)).shape == (2, 1)
    assert agent.infeasible.tolist() == [2, 0]
    agent.begin()
    assert agent.infeasible is None


def test_a_guardrail_that_is_not_a_number_is_one_that_is_not_kept():
    agent = control(plan(guardrails=[Guardrail(lambda codes: codes[..., 0] * torch.nan)]))
    with pytest.warns(RuntimeWarning, match="in 2 of 2 episodes"):
        assert agent.act(torch.zeros(2, 1), torch.ones(2, 1)).isfinite().all()
    assert agent.infeasible.tolist() == [1, 1]


def test_by_itself_the_augmented_lagrangian_raises_when_it_is_asked_to():
    asked = plan(guardrails=[Guardrail(lambda codes: codes[..., 0] + 0.2)])
    seen, goal = torch.zeros(1, 1), torch.ones(1, 1)

    def judged(z, hx, hy):
        return *asked.judged(hx, hy, z), None

    answer = AugmentedLagrangian(LBFGS(), rounds=3).minimize_together(
        judged, asked.latent(seen, goal), given=(seen, goal), within=Box(-1.0, 1.0)
    )
    # The first code is at -0.1 at best, and the others can be behind the rail.
    assert answer.violation.item() == pytest.approx(0.1, abs=1e-6)
    with pytest.raises(RuntimeError, match=r"1 of 1 infeasible, by 0\.1 to 0\.1"):
        answer.raise_if_infeasible()


@pytest.mark.parametrize("margin", [torch.nan, torch.inf])
def test_a_margin_that_is_none_is_refused(margin):
    with pytest.raises(ValueError, match="the margin of a guardrail is finite"):
        Guardrail(lambda codes: codes[..., 0], margin)


# NaN from a model


@pytest.mark.parametrize("what", ["what is seen", "the goal"])
def test_codes_that_are_no_numbers_are_refused_before_anything_is_done(what):
    seen, goal = torch.zeros(3, 1), torch.ones(3, 1)
    (seen if what == "what is seen" else goal)[1] = torch.nan
    with pytest.raises(FloatingPointError, match=f"codes of {what} that are not finite in 1 of 3 episodes"):
        control().act(seen, goal)


@solvers
def test_a_model_that_makes_nan_of_every_plan_is_refused(solver):
    agent = control(Plan(Ill(beyond=0.5), horizon=4, actions=1), solver)
    with pytest.raises(FloatingPointError, match="every plan that was tried is not finite in 1 of 2 episodes"):
        agent.act(torch.tensor([[0.0], [0.9]]), torch.ones(2, 1))


@solvers
def test_a_model_that_makes_nan_of_some_plans_is_planned_around(solver):
    agent = control(Plan(Ill(beyond=0.25), horizon=4, actions=1), solver)
    action = agent.act(torch.zeros(2, 1), torch.ones(2, 1))
    assert action.isfinite().all()
    codes = agent.plan.imagine(torch.zeros(2, 1), agent.actions).codes
    assert codes.isfinite().all()


def test_free_energy_says_which_episodes_a_model_failed_in_and_plans_for_the_others():
    asked = Plan(Ill(beyond=0.5), horizon=4, actions=1)
    solver = ProjectedGradient(steps=50)
    answer = FreeEnergy(asked, solver, within=Box(-1.0, 1.0)).infer(torch.tensor([[0.0], [0.9]]), torch.ones(2, 1))
    assert "1 of 2 not finite" in answer.summary()
    alone = FreeEnergy(asked, solver, within=Box(-1.0, 1.0)).infer(torch.zeros(1, 1), torch.ones(1, 1))
    assert torch.equal(alone.z[0], answer.z[0])


def test_a_collocation_around_a_model_that_makes_nan_is_refused_too():
    agent = control(Collocation(Plan(Ill(beyond=0.5), GoalDistance(), horizon=4, actions=1)))
    with pytest.raises(FloatingPointError, match="not finite in 1 of 2 episodes"):
        agent.act(torch.tensor([[0.0], [0.9]]), torch.ones(2, 1))


# An episode that ends within the horizon


@solvers
def test_a_plan_that_reaches_beyond_the_end_of_an_episode_is_a_plan(solver):
    played = play(Line(), control(plan(horizon=15), solver), 2)
    assert played.states.shape == (2, 13, 1)
    assert played.reached.all()


@solvers
def test_an_episode_that_has_ended_is_planned_for_and_stays(solver):
    world = Line()
    start = torch.tensor([[-0.6], [0.0]])  # the first one has ended where it begins
    played = play(world, control(solver=solver), 2, start=start)
    assert (played.states[0] == -0.6).all()
    assert played.reached.tolist() == [False, True]
    assert played.violated.tolist() == [True, False]


def test_the_others_are_planned_for_as_if_none_had_ended():
    world, start = Line(), torch.tensor([[-0.6], [0.0]])
    beside = play(world, control(), 2, start=start)
    alone = play(world, control(), 1, start=start[1:])
    torch.testing.assert_close(beside.states[1], alone.states[0], atol=1e-6, rtol=0)  # sums of another batch


def test_no_episodes_are_no_error():
    assert control().act(torch.zeros(0, 1), torch.ones(0, 1)).shape == (0, 1)
