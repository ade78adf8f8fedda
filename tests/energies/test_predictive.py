import math

import pytest
import torch
from conftest import normal
from torch import nn

from ebm.distances import CosineDistance, SquaredDistance
from ebm.energies import JointEmbedding, MovingAverage, Predictive, SharedBranch, StopGradient
from ebm.networks import MLP


def byol(base=0.996):
    return Predictive(MLP([8, 6]), MLP([6, 4]), MLP([4, 4]), lambda branch: MovingAverage(branch, base)).double()


def weights(module):
    return nn.utils.parameters_to_vector(module.parameters()).detach().clone()


@torch.no_grad()
def move(module, seed):
    """What an optimiser does to the branch between two steps."""
    for weight in module.parameters():
        weight += normal(*weight.shape, seed=seed)


def test_it_is_the_distance_of_the_prediction_from_the_target():
    energy = byol()
    x, y = normal(5, 8), normal(5, 8, seed=1)
    move(energy.branch, seed=2)
    hx, hy = energy.predictor(energy.branch(x)), energy.target.branch(y)
    assert torch.equal(energy(x, y), CosineDistance()(hx, hy))


def test_the_distance_is_an_argument():
    energy = Predictive(nn.Identity(), nn.Identity(), nn.Identity(), distance=SquaredDistance())
    x, y = normal(5, 8), normal(5, 8, seed=1)
    assert torch.equal(energy(x, y), (x - y).square().mean(-1))


@pytest.mark.parametrize("target", [StopGradient, MovingAverage])
def test_no_derivative_reaches_the_target(target):
    energy = Predictive(MLP([8, 6]), MLP([6, 4]), MLP([4, 4]), target).double()
    y = normal(5, 8, seed=1).requires_grad_()
    hx, hy = energy.encode(normal(5, 8), y)
    assert hx.requires_grad
    assert not hy.requires_grad
    energy.cost(hx, hy).sum().backward()
    assert y.grad is None
    assert all(weight.grad is not None for weight in [*energy.branch.parameters(), *energy.predictor.parameters()])
    assert all(weight.grad is None for weight in energy.target.parameters())


def test_stop_gradient_is_the_branch_itself_as_it_stands():
    energy = Predictive(MLP([8, 6]), MLP([6, 4]), MLP([4, 4]), StopGradient).double()
    y = normal(5, 8)
    for seed in range(2):
        move(energy.branch, seed)
        energy.after_step(0.5)
        assert torch.equal(energy.encode(y, y)[1], energy.branch(y))
    assert not list(energy.target.parameters())


def test_without_a_predictor_a_shared_branch_is_a_joint_embedding_in_value_and_gradient():
    encoder, projector = MLP([8, 6]).double(), MLP([6, 4]).double()
    shared = Predictive(encoder, projector, nn.Identity(), SharedBranch, SquaredDistance())
    joint = JointEmbedding(encoder, projector)
    x, y = normal(5, 8), normal(5, 8, seed=1)
    values, gradients = zip(*(_with_gradient(energy, x, y) for energy in (shared, joint)), strict=True)
    assert torch.equal(*values)
    for found, expected in zip(*gradients, strict=True):
        assert torch.equal(found, expected)  # the same operations in the same order


def _with_gradient(energy, x, y):
    value = energy(x, y)
    return value, torch.autograd.grad(value.sum(), list(energy.parameters()))


def test_a_moving_average_starts_as_a_copy_that_the_optimiser_does_not_move():
    energy = byol()
    before = weights(energy.branch)
    assert torch.equal(weights(energy.target), before)
    assert not any(weight.requires_grad for weight in energy.target.parameters())
    move(energy.branch, seed=0)
    assert torch.equal(weights(energy.target), before)


def test_after_steps_towards_a_branch_at_rest_the_rest_of_the_way_is_tau_to_their_number():
    energy, tau = byol(base=0.9), 0.9
    start = weights(energy.target)
    move(energy.branch, seed=0)
    for _ in range(12):
        energy.after_step(progress=0.0)
    goal = weights(energy.branch)
    # Twelve roundings.
    torch.testing.assert_close(weights(energy.target), goal + tau**12 * (start - goal), atol=1e-14, rtol=1e-13)


def test_it_follows_a_moving_branch_with_the_schedule_of_the_paper():
    energy, base, steps = byol(base=0.99), 0.99, 10
    expected = weights(energy.target)
    for k in range(steps):
        move(energy.branch, seed=k)
        energy.after_step(progress=k / steps)
        tau = 1 - (1 - base) * (math.cos(math.pi * k / steps) + 1) / 2
        expected = tau * expected + (1 - tau) * weights(energy.branch)
    # Ten roundings of sums of ten numbers near 1.
    torch.testing.assert_close(weights(energy.target), expected, atol=1e-14, rtol=1e-13)


@pytest.mark.parametrize(
    ("base", "progress", "share"), [(0.0, 0.0, 1.0), (0.0, 0.5, 0.5), (0.0, 1.0, 0.0), (0.996, 0.0, 0.004)]
)
def test_one_step_goes_the_share_of_the_way_that_tau_leaves(base, progress, share):
    energy = byol(base)
    start = weights(energy.target)
    move(energy.branch, seed=0)
    energy.after_step(progress)
    way = weights(energy.branch) - start
    # One multiplication and a cosine; a share of one is the branch to the last bit, and one of none no step.
    torch.testing.assert_close(weights(energy.target) - start, share * way, atol=1e-14, rtol=1e-12)
    if share == 1:
        assert torch.equal(weights(energy.target), weights(energy.branch))
    if share == 0:
        assert torch.equal(weights(energy.target), start)


def test_each_keeps_statistics_of_batch_normalisation_of_its_own():
    energy = Predictive(MLP([8, 6, 6], norm=True), MLP([6, 4]), MLP([4, 4]), MovingAverage).double()
    energy.encode(normal(32, 8) + 5, normal(32, 8, seed=1) - 5)
    online, target = (dict(module.named_buffers()) for module in (energy.branch, energy.target.branch))
    means = [name for name in online if name.endswith("running_mean")]
    assert means
    for name in means:
        before = target[name].clone()
        assert not torch.allclose(online[name], before)
        energy.after_step(0.0)
        assert torch.equal(target[name], before)


def test_what_is_kept_is_the_encoders_and_not_the_projectors():
    encoder = MLP([8, 6]).double()
    energy = Predictive(encoder, MLP([6, 4]).double(), MLP([4, 4]).double())
    x = normal(5, 8)
    assert torch.equal(energy.represent(x), encoder(x))
