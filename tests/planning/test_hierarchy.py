from itertools import pairwise

import pytest
import torch
from line_world import Line
from torch import nn

from ebm import Adam, CrossEntropyMethod, ImprovedCrossEntropy, Restarts
from ebm.energies import Collocation, Guardrail, HierarchicalJEPA, LearnedDynamics, Level
from ebm.networks.transitions import Transition
from ebm.planning import HierarchicalControl, ModelPredictiveControl, play


class Stride(Transition):
    """A step of so much along the line, which is what its actions do."""

    def __init__(self, length):
        super().__init__(1, 1, 0)
        self.length = length

    def after(self, code, acting):
        return code + self.length * acting


def model(count=2):
    """The line as it is: single steps of 0.1, and above them levels of 3 times that each."""
    levels = [Level(3, nn.Linear(3, 1), Stride(0.1 * 3**k)) for k in range(1, count)]
    return HierarchicalJEPA(LearnedDynamics(nn.Flatten(), Stride(0.1)), levels).requires_grad_(False)


DESCENT = Adam(rate=0.5, steps=10, tolerance=0)
SEARCH = CrossEntropyMethod(population=32, elites=4, steps=4, tolerance=0)


def control(hierarchy, solver=DESCENT, **options):
    count = len(hierarchy.levels) + 1
    return HierarchicalControl(
        hierarchy, [ModelPredictiveControl(hierarchy.plan(k, 3), solver) for k in range(count)], **options
    )


def seen(*places):
    return torch.tensor(places)[:, None, None, None]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("solver", [DESCENT, SEARCH, ImprovedCrossEntropy(population=32, elites=4, steps=4)])
def test_a_hierarchy_arrives_with_any_solver_and_two_or_three_levels(count, solver):
    played = play(Line(), control(model(count), solver), 3)
    assert played.reached.all()
    assert not played.outside.any()


def test_what_a_level_expects_after_its_first_step_is_the_goal_of_the_level_below():
    agent = control(model(3))
    agent.act(seen(0.0), seen(5.0))
    top, middle, low = (agent.subgoals[k].item() for k in (2, 1, 0))
    # Full steps of 0.9, 0.3 and 0.1: the goal is far beyond all of them. To the rounding of single precision.
    assert (top, middle, low) == pytest.approx((0.9, 0.3, 0.1), abs=1e-5)
    assert agent.actions[1].shape == (1, 3, 1)


def test_where_the_goal_is_nearer_than_the_one_from_above_it_is_taken_itself():
    hierarchy = model()
    agents = [control(hierarchy, near=near, every=[1, 3]) for near in (1.0, 0.0)]
    for agent in agents:
        agent.actions[1], agent.subgoals[1], agent.time = torch.ones(2, 3, 1), torch.tensor([[0.3], [0.3]]), 1
        agent.act(seen(0.0, 0.0), seen(-0.05, 2.0))
    goal, above = (agent.actions[0].sum(1).flatten() for agent in agents)
    assert goal[0] < 0 < goal[1]  # one episode goes to its goal, which is behind, the other to what is asked from above
    assert (above > 0).all()


def test_the_highest_level_plans_again_every_so_many_steps():
    agent = control(model(), every=[1, 4])
    plans = []
    for _ in range(9):
        agent.act(seen(0.0), seen(5.0))
        plans.append(agent.actions[1])
    assert [a is b for a, b in pairwise(plans)] == [True, True, True, False] * 2


def test_several_actions_of_the_lowest_plan_are_done_before_the_next():
    agent = control(model(), every=[2, 2])
    first = agent.act(seen(0.0), seen(5.0))
    second = agent.act(seen(-9.0), seen(5.0))
    assert torch.equal(torch.stack([first, second], 1), agent.actions[0][:, :2])


def test_plans_begin_where_those_before_were_going_to_be():
    still = Adam(rate=1e-6, steps=1, tolerance=0)
    agent = control(model(), still, every=[1, 3])
    agent.actions = [torch.tensor([[[0.1], [0.2], [0.3]]]), torch.tensor([[[0.4], [0.5], [0.6]]])]
    agent.subgoals[1] = torch.ones(1, 1)
    agent.act(seen(0.0), seen(5.0))
    # A step of 1e-6 apart.
    assert agent.actions[0].flatten().tolist() == pytest.approx([0.2, 0.3, 0.0], abs=1e-5)
    assert agent.actions[1].flatten().tolist() == pytest.approx([0.5, 0.6, 0.0], abs=1e-5)


def test_the_plans_of_all_levels_are_counted():
    agent = control(model(), SEARCH, every=[1, 2])
    for _ in range(4):
        agent.act(seen(0.0, 0.1), seen(5.0, 5.0))
    assert agent.evaluations == (4 + 2) * (1 + 4 * (1 + 32))  # a mean and 32 candidates 4 times, and where it began
    agent.begin()
    assert agent.evaluations == 0


def test_episodes_planned_together_are_those_planned_alone():
    agent, starts, goals = control(model(3)), (0.0, 0.5, -0.3), (1.0, 0.45, 5.0)
    together = agent.act(seen(*starts), seen(*goals))
    alone = [control(model(3)).act(seen(a), seen(b))[0] for a, b in zip(starts, goals, strict=True)]
    # Rounding of single precision, over 10 steps of descent.
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=0)


def test_other_episodes_begin_anew():
    agent = control(model())
    agent.act(seen(0.0), seen(1.0))
    assert agent.act(seen(0.0, 0.5), seen(1.0, 1.0)).shape == (2, 1)


def test_restarts_are_those_of_each_controller():
    hierarchy = model()
    tiers = [ModelPredictiveControl(hierarchy.plan(k, 3), DESCENT, Restarts(4, 0.5)) for k in (0, 1)]
    assert play(Line(), HierarchicalControl(hierarchy, tiers), 2).reached.all()


def test_a_guardrail_of_the_lowest_level_is_kept():
    hierarchy = model()
    wall = Guardrail(lambda codes: codes[..., 0] - 0.25)
    low = hierarchy.plan(0, 3).configured(guardrails=[wall])
    tiers = [ModelPredictiveControl(low, DESCENT), ModelPredictiveControl(hierarchy.plan(1, 3), DESCENT)]
    played = play(Line(), HierarchicalControl(hierarchy, tiers), 2)
    assert 0.2 < played.states.amax() <= 0.25 + 1e-3  # by the tolerance of an augmented Lagrangian


def test_what_is_no_hierarchy_of_controllers_is_said():
    hierarchy = model()
    tiers = [ModelPredictiveControl(hierarchy.plan(k, 3), DESCENT) for k in (0, 1)]
    with pytest.raises(ValueError, match="2 levels has as many controllers and times"):
        HierarchicalControl(hierarchy, tiers[:1])
    with pytest.raises(ValueError, match="the lowest after 3 of its plan at most"):
        HierarchicalControl(hierarchy, tiers, every=[4, 4])
    collocated = ModelPredictiveControl(Collocation(hierarchy.plan(0, 3), 1.0), DESCENT)
    with pytest.raises(ValueError, match="not by a Collocation"):
        HierarchicalControl(hierarchy, [collocated, tiers[1]])
    with pytest.raises(ValueError, match="near is a share"):
        HierarchicalControl(hierarchy, tiers, near=-1.0)
    with pytest.raises(ValueError, match="give a picture of the last one"):
        HierarchicalControl(hierarchy, tiers).act(seen(0.0), None)
    with pytest.raises(FloatingPointError, match="codes of what is seen that are not finite"):
        HierarchicalControl(hierarchy, tiers).act(seen(float("nan")), seen(1.0))
