import pytest
import torch
from conftest import Table, normal
from torch import nn

from ebm import LBFGS, FreeEnergy, GradientDescent, Unrolled
from ebm.energies import LearnedDynamics, MovingAverage, OfLatent, OfTrajectory, Situation, StopGradient, WorldModel
from ebm.learner import Learner, Term
from ebm.losses import PushDown
from ebm.networks import MLP, GaussianChannel, ResidualTransition
from ebm.regularizers import Covariance, GaussianInformation, InverseDynamics, TemporalSmoothness, Variance


def model(latents=0, **options):
    dynamics = LearnedDynamics(MLP([6, 4]), ResidualTransition(4, 2, latents, (8,)), observation_axes=1)
    return WorldModel(dynamics, **options).double()


def batch(n=5, steps=3, seed=0):
    observation, actions = normal(n, 6, seed=seed), normal(n, steps, 2, seed=seed + 1)
    return Situation(observation, actions), normal(n, steps, 6, seed=seed + 2)


def test_its_energy_is_the_mean_squared_error_of_a_rollout_in_the_space_of_codes():
    energy = model()
    x, y = batch()
    code, expected = energy.dynamics.read(x.observation), 0.0
    for t in range(3):
        code = energy.dynamics.step(code, x.actions[:, t])
        expected = expected + (code - energy.dynamics.read(y[:, t])).square().mean(-1) / 3
    torch.testing.assert_close(energy(x, y), expected)


def test_regularizers_read_the_codes_of_all_times_as_rows():
    energy = model()
    x, y = batch()
    (rows,) = energy.rows(*energy.encode(x, y))
    whole = torch.cat([x.observation[:, None], y], 1)
    torch.testing.assert_close(rows, energy.dynamics.read(whole).flatten(0, 1))


def test_a_trajectory_is_told_apart_into_its_codes_and_actions():
    energy = model()
    x, y = batch()
    codes, actions = energy.trajectory(*energy.encode(x, y))
    assert codes.shape == (5, 4, 4)
    assert torch.equal(actions, x.actions)


def test_no_derivative_reaches_a_target_that_is_held_still():
    x, y = batch()
    for target, reached in ((StopGradient, False), (MovingAverage, False)):
        _, hy = model(target=target).encode(x, y)
        assert hy.requires_grad == reached
    assert model().encode(x, y)[1].requires_grad


def test_a_moving_average_follows_the_encoder_of_the_dynamics():
    energy = model(target=lambda branch: MovingAverage(branch, base=0.5))
    with torch.no_grad():
        for weight in energy.dynamics.reading.parameters():
            weight.add_(1.0)
    before = [weight.clone() for weight in energy.target.branch.parameters()]
    energy.after_step(0.0)
    moved = [after - then for then, after in zip(before, energy.target.branch.parameters(), strict=True)]
    assert all(torch.allclose(change, torch.full_like(change, 0.5)) for change in moved)


def test_a_free_latent_as_large_as_the_code_explains_everything():
    dynamics = LearnedDynamics(MLP([6, 4]), ResidualTransition(4, 2, 4, ()), observation_axes=1)
    energy = WorldModel(dynamics).double()
    x, y = batch()
    answer = FreeEnergy(energy, LBFGS(tolerance=1e-9)).infer(x, y)
    assert answer.z.shape == (5, 3, 4)
    assert energy(x, y, torch.zeros(5, 3, 4).double()).min() > 0.1
    # A linear transition, so least squares with an exact solution.
    assert answer.energy.max() < 1e-12


def test_an_amortised_latent_is_what_the_network_tells_of_each_step():
    energy = model(latents=2, inference=MLP([8, 2])).double()
    x, y = batch()
    hx, hy = energy.encode(x, y)
    codes, _ = energy.trajectory(hx, hy)
    torch.testing.assert_close(energy.latent(hx, hy)[:, 1], energy.inference(torch.cat([codes[:, 1], codes[:, 2]], -1)))
    F = FreeEnergy(energy, GradientDescent(steps=0), Unrolled())
    F(hx, hy).mean().backward()
    assert all(weight.grad.any() for weight in energy.inference.parameters())


def test_a_network_for_a_latent_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="does not take"):
        model(inference=MLP([8, 2]))


@pytest.mark.parametrize(
    ("observation", "actions", "y"),
    [((5, 6), (5, 3, 2), (5, 2, 6)), ((5, 6), (4, 3, 2), (5, 3, 6)), ((5, 6), (5, 3, 2), (5, 6))],
)
def test_an_observation_missing_after_an_action_is_named(observation, actions, y):
    with pytest.raises(ValueError, match="an observation after each action"):
        model().encode(Situation(torch.zeros(observation), torch.zeros(actions)), torch.zeros(y))


def test_a_tensor_is_no_situation():
    with pytest.raises(ValueError, match="Situation"):
        model().encode(torch.zeros(5, 6), torch.zeros(5, 3, 6))


def test_terms_of_trajectories_see_codes_in_order_and_what_was_done():
    class Seen(nn.Module):
        def forward(self, codes, actions):
            return (codes.diff(dim=1).sum() + actions.sum()).clone()

    energy = model()
    x, y = batch()
    codes, actions = energy.trajectory(*energy.encode(x, y))
    term = OfTrajectory(Seen())(FreeEnergy(energy), *energy.encode(x, y))
    torch.testing.assert_close(term, codes.diff(dim=1).sum() + actions.sum())


def test_terms_of_trajectories_need_an_energy_that_has_them():
    with pytest.raises(TypeError, match="Table has none"):
        OfTrajectory(TemporalSmoothness())(FreeEnergy(Table(torch.eye(2))), torch.zeros(1, 2), torch.zeros(1, 2))


def test_a_learner_trains_it_by_prediction_and_every_kind_of_term():
    learner = Learner(
        model(),
        losses={
            "predict": Term(10.0, PushDown()),
            "smooth": Term(1.0, OfTrajectory(TemporalSmoothness())),
            "inverse": Term(1.0, OfTrajectory(InverseDynamics(4, 2).double())),
        },
        regularizers={"variance": Term(10.0, Variance()), "covariance": Term(1.0, Covariance())},
    )
    x, y = batch(32)
    optimizer = torch.optim.Adam(learner.parameters(), 1e-2)
    totals = []
    for _ in range(60):
        terms, _, _ = learner.terms(x, y)
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert set(terms) == {"predict", "smooth", "inverse", "variance", "covariance"}
    assert totals[-1] < 0.7 * totals[0]


def test_what_a_latent_tells_at_each_step_is_limited_as_that_of_one_step_is():
    energy = model(latents=2, inference=MLP([8, 4]), channel=GaussianChannel()).double()
    x, y = batch()
    hx, hy = energy.encode(x, y)
    term = OfLatent(GaussianInformation())(FreeEnergy(energy), hx, hy)
    torch.testing.assert_close(term, GaussianInformation()(energy.predict(hx, hy).reshape(15, 4)))
