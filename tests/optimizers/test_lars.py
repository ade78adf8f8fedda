from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ebm.optimizers import LARS


def stepped(weights, gradients, steps=1, **settings):
    """The weights after some steps along the same gradients."""
    parameters = [nn.Parameter(w.clone()) for w in weights]
    optimizer = LARS(parameters, **settings)
    for _ in range(steps):
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def by_formula(w, gradient, steps, lr, momentum, weight_decay, trust, clip):
    w, gradient, velocity = w.numpy().copy(), gradient.numpy(), 0.0
    for _ in range(steps):
        length, slope = np.linalg.norm(w), np.linalg.norm(gradient)
        share = trust * length / (slope + weight_decay * length)
        share = min(share / lr, 1.0) if clip else share
        velocity = momentum * velocity + share * (gradient + weight_decay * w)
        w = w - lr * velocity
    return torch.from_numpy(w)


@given(
    seed=st.integers(0, 2**16),
    lr=st.floats(1e-3, 1.0),
    momentum=st.sampled_from([0.0, 0.9]),
    weight_decay=st.sampled_from([0.0, 1e-2]),
    trust=st.floats(1e-3, 0.5),
    clip=st.booleans(),
)
def test_each_matrix_moves_as_the_paper_has_it(seed, **settings):
    weights, gradients = [normal(3, 4, seed=seed), 5 * normal(2, 3, 2, seed=seed + 1)], [normal(3, 4), normal(2, 3, 2)]
    for found, w, g in zip(stepped(weights, gradients, 3, **settings), weights, gradients, strict=True):
        # Three steps of a dozen operations in double precision.
        torch.testing.assert_close(found, by_formula(w, g, 3, **settings), rtol=1e-12, atol=1e-12)


def test_vectors_move_as_by_gradient_descent_with_momentum_and_without_decay():
    bias, gradient = normal(5), normal(5, seed=1)
    (found,) = stepped([bias], [gradient], 2, lr=0.1, momentum=0.5, weight_decay=1.0)
    torch.testing.assert_close(found, bias - 0.1 * gradient - 0.1 * 1.5 * gradient)


def test_vectors_are_adapted_when_asked_for():
    settings = {"lr": 0.1, "momentum": 0.0, "weight_decay": 1e-2, "trust": 0.02}
    (found,) = stepped([normal(5)], [normal(5, seed=1)], adapt_vectors=True, **settings)
    torch.testing.assert_close(found, by_formula(normal(5), normal(5, seed=1), 1, clip=False, **settings))


def test_the_length_of_a_step_does_not_depend_on_the_scale_of_the_gradient():
    moves = [stepped([normal(4, 4)], [k * normal(4, 4, seed=1)], lr=0.1)[0] - normal(4, 4) for k in (1.0, 1e4)]
    torch.testing.assert_close(moves[0], moves[1])
    assert moves[0].norm().item() == pytest.approx(0.1 * 0.001 * normal(4, 4).norm().item(), rel=1e-9)


def test_clipped_it_never_steps_further_than_gradient_descent():
    gradient = 1e-6 * normal(4, 4, seed=1)  # unclipped, the step would be as long as for any other gradient
    (found,) = stepped([normal(4, 4)], [gradient], lr=0.1, trust=0.02, clip=True)
    torch.testing.assert_close(found, normal(4, 4) - 0.1 * gradient, rtol=0, atol=1e-15)


@pytest.mark.parametrize("settings", [{"lr": 0.1}, {"lr": 0.1, "clip": True}, {"lr": 0.0, "clip": True}], ids=str)
def test_weights_and_gradients_of_zero_give_no_infinity(settings):
    moved = stepped([torch.zeros(3, 3), torch.ones(3, 3)], [torch.ones(3, 3), torch.zeros(3, 3)], **settings)
    assert all(w.isfinite().all() for w in moved)


def test_what_has_no_gradient_stays():
    kept, moved = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    moved.grad = torch.ones(2, 2)
    LARS([kept, moved], lr=0.1).step()
    assert torch.equal(kept, torch.ones(2, 2))
    assert not torch.equal(moved, torch.ones(2, 2))


def test_it_goes_on_from_its_state_as_if_it_had_not_stopped():
    w, gradient = nn.Parameter(normal(3, 3)), normal(3, 3, seed=1)
    optimizer = LARS([w], lr=0.1)
    w.grad = gradient
    optimizer.step()
    restored = nn.Parameter(w.detach().clone())
    again = LARS([restored], lr=0.1)
    again.load_state_dict(deepcopy(optimizer.state_dict()))
    restored.grad = gradient
    for one in (optimizer, again):
        one.step()
    assert torch.equal(w, restored)


def test_a_closure_is_evaluated_and_its_loss_returned():
    w = nn.Parameter(torch.ones(2, 2))

    def closure():
        w.grad = None
        loss = w.square().sum()
        loss.backward()
        return loss

    assert LARS([w], lr=0.1).step(closure) == 4


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "trust"])
@pytest.mark.parametrize("number", [-1.0, float("nan")])
def test_a_setting_that_is_negative_or_no_number_is_refused_by_name(name, number):
    with pytest.raises(ValueError, match=f"the {name} of LARS is a number that is not negative, not {number}"):
        LARS([nn.Parameter(torch.ones(1))], **{"lr": 0.1, name: number})
