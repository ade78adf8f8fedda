import pytest
import torch
from conftest import normal

from ebm.networks import CategoricalChannel, GaussianChannel


def test_what_comes_out_of_a_gaussian_channel_has_the_mean_and_the_variance_of_the_code():
    code = torch.tensor([[0.5, -1.0, 0.2, -2.0]], dtype=torch.float64).expand(40_000, 4)
    z = GaussianChannel().train()(code)
    # Four standard errors of 40,000 draws, of the mean and of the variance.
    for found, mean, variance in zip(z.unbind(1), (0.5, -1.0), torch.tensor([0.2, -2.0]).exp(), strict=True):
        assert found.mean().item() == pytest.approx(mean, abs=4 * (variance / 40_000).sqrt().item())
        assert found.var().item() == pytest.approx(variance.item(), rel=4 * (2 / 40_000) ** 0.5)


def test_outside_training_a_gaussian_channel_gives_the_mean():
    code = normal(3, 5, 4)
    assert torch.equal(GaussianChannel().eval()(code), code[..., :2])


def test_the_derivative_passes_through_the_draw():
    code = normal(6, 4).requires_grad_()
    GaussianChannel().train()(code).square().sum().backward()
    assert (code.grad.abs().sum(0) > 0).all()


def test_a_categorical_channel_draws_as_often_as_the_code_says():
    logits = torch.tensor([0.0, 1.0, -1.0], dtype=torch.float64)
    drawn = CategoricalChannel().train()(logits.expand(40_000, 3))
    assert torch.equal(drawn.detach().sum(1).round(), torch.ones(40_000, dtype=torch.float64))
    shares, expected = drawn.detach().mean(0), logits.softmax(0)
    assert ((shares - expected).abs() < 4 * (expected * (1 - expected) / 40_000).sqrt()).all()


def test_outside_training_it_takes_the_likeliest():
    code = normal(4, 5)
    chosen = CategoricalChannel().eval()(code)
    assert torch.equal(chosen.argmax(-1), code.argmax(-1))
    assert torch.equal(chosen.sum(-1), torch.ones(4, dtype=torch.float64))


def test_a_choice_passes_the_derivative_of_a_softmax():
    code = normal(6, 4).requires_grad_()
    (CategoricalChannel(0.5).train()(code) * normal(6, 4, seed=1)).sum().backward()
    assert (code.grad.abs().sum(1) > 0).all()
    torch.testing.assert_close(code.grad.sum(1), torch.zeros(6, dtype=torch.float64))  # a softmax sees no shift


def test_an_odd_code_is_refused():
    with pytest.raises(ValueError, match="has no odd 5 features"):
        GaussianChannel()(normal(2, 5))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ValueError, match="is positive, not"):
        CategoricalChannel(temperature)
