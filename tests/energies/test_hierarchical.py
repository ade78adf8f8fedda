import pytest
import torch
from conftest import normal
from torch import nn

from ebm import FreeEnergy
from ebm.energies import (
    GoalDistance,
    HierarchicalJEPA,
    Imagined,
    LearnedDynamics,
    Level,
    OfLevel,
    SeenFromAbove,
    Situation,
    WorldModel,
)
from ebm.learner import Learner, Term
from ebm.losses import PushDown
from ebm.networks import MLP, ResidualTransition
from ebm.regularizers import Covariance, TemporalSmoothness, Variance


def lowest(latents=0):
    return LearnedDynamics(MLP([6, 4]), ResidualTransition(4, 2, latents, (8,)), observation_axes=1)


def model(**options):
    """Three levels: 4 codes and 2 actions, then 3 and 1 at a stride of 2, then 2 and 1 at a stride of 3."""
    torch.manual_seed(0)
    return HierarchicalJEPA(lowest(), [Level.of(4, 2, 2, 1, 3, 8), Level.of(3, 1, 3, 1, 2, 8)], **options).double()


def batch(n=5, steps=13, seed=0):
    return Situation(normal(n, 6, seed=seed), normal(n, steps, 2, seed=seed + 1)), normal(n, steps, 6, seed=seed + 2)


def by_hand(energy, x, y):
    """Mean squared errors of the levels, written out step by step."""
    codes = [energy.dynamics.read(x.observation), *(energy.dynamics.read(y[:, t]) for t in range(y.shape[1]))]
    actions, step, errors = [x.actions[:, t] for t in range(y.shape[1])], energy.dynamics.transition, []
    for level in [None, *energy.levels]:
        if level is not None:
            s, count = level.stride, len(actions) // level.stride
            codes = [level.encoder(codes[j * s]) for j in range(count + 1)]
            actions = [torch.tanh(level.macro(torch.cat(actions[j * s : (j + 1) * s], -1))) for j in range(count)]
            step = level.transition
        code, error = codes[0], 0.0
        for action, later in zip(actions, codes[1:], strict=True):
            code = step(code, action)
            error = error + (code - later).square().mean(-1) / len(actions)
        errors.append(error)
    return errors


def test_its_energy_is_the_weighted_sum_of_what_each_level_predicts_wrongly_at_its_own_pace():
    x, y = batch()
    energy = model(weights=[1.0, 0.5, 2.0])
    first, second, third = by_hand(energy, x, y)
    torch.testing.assert_close(energy(x, y), first + 0.5 * second + 2 * third)


def test_a_level_has_as_many_steps_as_fit_into_those_of_the_level_below():
    energy = model()
    found = energy.trajectories(*energy.encode(*batch(steps=13)), 2)
    assert [codes.shape for codes, _ in found] == [(5, 14, 4), (5, 7, 3), (5, 3, 2)]
    assert [actions.shape for _, actions in found] == [(5, 13, 2), (5, 6, 1), (5, 2, 1)]


def test_a_level_of_weight_zero_is_not_computed():
    x, y = batch(steps=3)  # too short for the third level
    assert model(weights=[1.0, 1.0, 0.0])(x, y).isfinite().all()
    with pytest.raises(ValueError, match="one step of this level is 3 of the level below, and there are 1"):
        model()(x, y)


@pytest.mark.parametrize("joint", [True, False])
def test_errors_above_change_the_codes_below_only_where_levels_are_trained_jointly(joint):
    energy = model(weights=[0.0, 1.0, 1.0], joint=joint)
    energy(*batch()).sum().backward()
    reached = [p.grad is not None and bool(p.grad.any()) for p in energy.dynamics.reading.parameters()]
    assert all(reached) if joint else not any(reached)
    assert all(p.grad is not None for p in energy.levels.parameters())


def test_regularizers_read_the_codes_of_a_level_as_rows_or_in_order():
    F = FreeEnergy(model())
    hx, hy = F.energy.encode(*batch())
    codes, actions = F.energy.trajectories(hx, hy, 1)[1]
    assert OfLevel(1, Variance())(F, hx, hy) == Variance()(codes.flatten(0, 1))
    slowness = TemporalSmoothness()
    assert OfLevel(1, slowness, ordered=True)(F, hx, hy) == slowness(codes, actions)
    with pytest.raises(TypeError, match="levels of a HierarchicalJEPA are meant; WorldModel has none"):
        OfLevel(1, Variance())(FreeEnergy(WorldModel(lowest())), hx, hy)


def test_macro_actions_are_in_the_box_however_large_the_actions_are():
    level = Level.of(4, 2, 2, 3).double()
    _, macro = level(normal(5, 7, 4), 1e3 * normal(5, 6, 2))
    assert macro.shape == (5, 3, 3)
    assert (macro.abs() <= 1).all()


def test_each_level_is_dynamics_that_plans_go_through():
    energy = model()
    seen = normal(5, 6)
    code = energy.dynamics.read(seen)
    for k, (span, actions) in enumerate([(1, 2), (2, 1), (6, 1)]):
        if k:
            code = energy.levels[k - 1].encoder(code)
        dynamics = energy.dynamics_of(k)
        torch.testing.assert_close(dynamics.read(seen), code)
        assert energy.span(k) == span
        plan = energy.plan(k, horizon=3)
        assert plan.latent(code, None).shape == (5, 3, actions)
        assert dynamics.rollout(code, normal(5, 3, actions)).shape == (5, 3, code.shape[-1])
    with pytest.raises(ValueError, match="levels are 0 to 2, there is no 3"):
        energy.dynamics_of(3)


def test_the_goal_of_a_plan_is_a_code_of_the_level_above_or_of_the_highest_itself():
    energy = model()
    code, z = energy.dynamics.read(normal(5, 6)), normal(5, 4, 2)
    ends = energy.dynamics.rollout(code, z)
    above = energy.levels[0].encoder(ends)
    goal = normal(5, 3)
    expected = (above - goal[:, None]).square().mean(-1).sum(-1)
    torch.testing.assert_close(energy.plan(0, 4).cost(code, goal, z), expected)
    assert isinstance(energy.plan(2, 4).costs, GoalDistance)
    cost = SeenFromAbove(GoalDistance("last"), energy.levels[0])
    torch.testing.assert_close(
        cost(Imagined(code, ends, z), goal), (above[:, -1] - goal).square().mean(-1), atol=1e-12, rtol=0
    )


def test_without_an_encoder_a_level_is_slower_in_the_same_space():
    level = Level.of(4, 2, 3).double()
    codes = normal(5, 7, 4)
    assert torch.equal(level(codes, normal(5, 6, 2))[0], codes[:, ::3])


def test_a_learner_trains_three_levels_at_once():
    torch.manual_seed(0)
    losses = {"predict": Term(10, PushDown())}
    for k in (1, 2):
        losses |= {
            f"variance {k}": Term(10, OfLevel(k, Variance())),
            f"covariance {k}": Term(1, OfLevel(k, Covariance())),
        }
    learner = Learner(model().float(), losses, {"variance": Term(10, Variance()), "covariance": Term(1, Covariance())})
    place, actions = torch.randn(256, 1, 6), torch.randn(256, 6, 2).clamp(-1, 1)
    whole = torch.cat([place, place + torch.cat([actions.cumsum(1)] * 3, -1)], 1)
    optimizer, seen = torch.optim.Adam(learner.parameters(), 1e-2), []
    for _ in range(80):
        terms, hx, hy = learner.terms(Situation(whole[:, 0], actions), whole[:, 1:])
        seen.append([float(part.detach()) for part in (*terms.values(), hx.std(0).mean())])
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
    errors = [sum(row[:-1]) for row in seen]
    assert errors[-1] < 0.5 * errors[0]
    codes, _ = learner.F.energy.trajectories(hx, hy, 2)[2]
    assert (codes.flatten(0, 1).std(0) > 0.3).all()  # none has collapsed; Variance asks for 1


def test_what_is_no_hierarchy_is_said():
    level = Level.of(4, 2, 2)
    with pytest.raises(ValueError, match="WorldModel is what has none"):
        HierarchicalJEPA(lowest(), [])
    with pytest.raises(ValueError, match="takes no latents, not 2"):
        HierarchicalJEPA(lowest(latents=2), [level])
    with pytest.raises(ValueError, match="a weight for each of 2 levels"):
        HierarchicalJEPA(lowest(), [level], weights=[1.0])
    with pytest.raises(ValueError, match="a stride of at least 2, not 1"):
        Level.of(4, 2, 1)
    with pytest.raises(ValueError, match="takes no latents, but this one takes 2"):
        Level(2, nn.Identity(), ResidualTransition(4, 2, 2))
