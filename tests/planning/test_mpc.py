import pytest
import torch
from line_world import Line

from ebm import LBFGS, MPPI, Adam, AugmentedLagrangian, CrossEntropyMethod, ProjectedGradient, Restarts
from ebm.energies import Collocation, GoalDistance, Guardrail, Plan
from ebm.planning import ModelPredictiveControl, TrueDynamics, play


def plan(**options):
    return Plan(TrueDynamics(Line()), GoalDistance(), horizon=4, actions=1, **options)


SOLVERS = {
    "gradient": Adam(rate=0.3, steps=20, tolerance=0),
    "projected": ProjectedGradient(steps=20),
    "cem": CrossEntropyMethod(population=32, elites=4, steps=4),
    "mppi": MPPI(population=32, steps=4),
}
SLOW = Adam(rate=1e-4, steps=20, tolerance=0)  # too slow to arrive, so that it takes all of its steps
solvers = pytest.mark.parametrize("solver", SOLVERS.values(), ids=SOLVERS)


@solvers
def test_any_solver_controls_a_world_that_it_knows(solver):
    played = play(Line(), ModelPredictiveControl(plan(), solver), 3)
    assert played.reached.all()
    assert played.steps.max() <= 11
    assert not played.outside.any()


@solvers
def test_episodes_planned_together_are_those_planned_alone(solver):
    seen = torch.tensor([[0.0], [0.5], [-0.3]])
    together = ModelPredictiveControl(plan(), solver).act(seen, torch.ones(3, 1))
    alone = [ModelPredictiveControl(plan(), solver).act(row[None], torch.ones(1, 1))[0] for row in seen]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=0)


def test_a_plan_begins_where_the_one_before_was_going_to_be():
    agent = ModelPredictiveControl(plan(), Adam(rate=0.0001, steps=0, tolerance=0))
    agent.actions, agent.done = torch.tensor([[[0.1], [0.2], [0.3], [0.4]]]), 1
    assert agent.act(torch.zeros(1, 1), torch.ones(1, 1)).item() == pytest.approx(0.2)
    assert agent.actions[0, :, 0].tolist() == pytest.approx([0.2, 0.3, 0.4, 0.0])


def test_so_many_actions_of_a_plan_are_done_before_the_next():
    agent = ModelPredictiveControl(plan(), SLOW, every=3)
    played = play(Line(), agent, 2)
    assert agent.plans == 4
    assert played.evaluations == pytest.approx(21 / 3)


def test_restarts_cost_evaluations_which_are_counted():
    agent = ModelPredictiveControl(plan(), SLOW, Restarts(4, 0.5))
    agent.act(torch.zeros(2, 1), torch.ones(2, 1))
    assert agent.evaluations == 4 * 21


def test_a_model_that_makes_nan_of_what_it_sees_acts_not_at_all():
    agent = ModelPredictiveControl(plan(), SOLVERS["gradient"])
    with pytest.raises(FloatingPointError, match="not finite in 1 of 2 episodes"):
        agent.act(torch.tensor([[0.0], [float("nan")]]), torch.ones(2, 1))


@pytest.mark.parametrize("every", [0, 5])
def test_more_actions_than_a_plan_has_cannot_be_done(every):
    with pytest.raises(ValueError, match="1 to 4"):
        ModelPredictiveControl(plan(), SOLVERS["gradient"], every=every)


def test_a_guardrail_is_kept_where_the_goal_lies_behind_it():
    rail = Guardrail(lambda codes: codes[..., 0] - 0.5)
    agent = ModelPredictiveControl(plan(guardrails=[rail]), SOLVERS["gradient"])
    played = play(Line(), agent, 2)
    assert played.states.max() <= 0.5 + 1e-4  # the tolerance of the augmented Lagrangian
    assert played.states[:, -1].min() > 0.45
    assert not agent.infeasible.any()


def test_a_guardrail_that_no_plan_keeps_is_counted_and_the_least_violating_plan_is_done():
    rail = Guardrail(lambda codes: codes[..., 0] + 0.2)
    agent = ModelPredictiveControl(plan(guardrails=[rail]), SOLVERS["projected"])
    with pytest.warns(RuntimeWarning, match="in 1 of 2 episodes"):
        action = agent.act(torch.tensor([[0.0], [-0.5]]), torch.ones(2, 1))
    assert agent.infeasible.tolist() == [1, 0]
    assert action[0].item() == pytest.approx(-1.0, abs=1e-6)


def test_a_collocation_controls_a_world_too():
    agent = ModelPredictiveControl(Collocation(plan(), 10.0), Adam(rate=0.3, steps=40, tolerance=0))
    played = play(Line(), agent, 3)
    assert played.reached.all()
    assert not played.outside.any()


def test_a_collocation_that_is_exact_plans_as_shooting_does_and_keeps_its_guardrails():
    seen, goal = torch.tensor([[0.0], [0.4]]).double(), torch.ones(2, 1).double()
    railed = plan(guardrails=[Guardrail(lambda codes: codes[..., 0] - 0.5)])
    for asked in (plan(), railed):
        hard = AugmentedLagrangian(LBFGS(tolerance=1e-6), tolerance=1e-5)
        collocated = ModelPredictiveControl(Collocation(asked), LBFGS(), hard=hard)
        shot = ModelPredictiveControl(asked, LBFGS(), hard=hard)
        # Four defects of 1e-5, amplified by a world that moves a tenth as far as its actions.
        torch.testing.assert_close(collocated.act(seen, goal), shot.act(seen, goal), atol=1e-2, rtol=0)
        assert collocated.infeasible.tolist() == [0, 0]


def test_what_was_played_tells_how_many_plans_of_each_episode_broke_their_guardrails():
    rail = Guardrail(lambda codes: codes[..., 0] + 0.2)
    agent = ModelPredictiveControl(plan(guardrails=[rail]), SOLVERS["projected"])
    with pytest.warns(RuntimeWarning, match="guardrails"):
        played = play(Line(), agent, 2, start=torch.tensor([[0.0], [-0.5]]))
    # From 0 it takes two steps of 0.1 to come to -0.2, of which the first plan cannot be all below.
    assert played.infeasible[0] >= 1
    assert played.infeasible[1] == 0
