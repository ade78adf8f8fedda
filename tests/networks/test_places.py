"""Networks of places: what they do is the same everywhere, and latents of places act where they are."""

from __future__ import annotations

import pytest
import torch
from conftest import normal
from scipy import stats
from torch import nn

from ebm.networks import CategoricalPlaces, PlaceNet, PlacesChannel, PlaceTransition

SHAPE = (3, 5, 6)
PLACES = 30


def transition(latents: int = 4) -> PlaceTransition:
    return PlaceTransition(SHAPE, 2, latents).double()


def test_a_network_of_places_is_convolutions_of_the_image():
    net = PlaceNet(SHAPE, [4, 2], [3, 1]).double()
    codes = normal(7, 2, 3 * PLACES)
    found = net(codes)
    assert found.shape == (7, 2, 2 * PLACES)
    expected = net.layers(codes[3, 1].view(1, *SHAPE)).flatten()
    torch.testing.assert_close(found[3, 1], expected)
    assert isinstance(net.layers[-1], nn.Conv2d)  # no ReLU at the end


@pytest.mark.parametrize("kernels", [[3], [3, 2]])
def test_kernels_that_do_not_fit_are_refused(kernels):
    with pytest.raises(ValueError, match="odd kernel"):
        PlaceNet(SHAPE, [4, 2], kernels)


def test_a_transition_broadcasts_over_draws_and_plans():
    step = transition()
    code, action, latent = normal(6, 3 * PLACES), normal(5, 1, 2), normal(4, 1, 1, 4 * PLACES)
    assert step(code, action, latent).shape == (4, 5, 6, 3 * PLACES)
    torch.testing.assert_close(step(code, action, latent)[2, 3, 1], step(code[1], action[3, 0], latent[2, 0, 0]))


def test_the_latent_of_a_place_is_seen_no_further_than_two_places_away():
    """A gate of kernel 1 and two layers of kernel 3."""
    step, code, action = transition(), normal(3 * PLACES), normal(2)
    latent = torch.zeros(4, 5, 6, dtype=torch.float64)
    other = latent.clone()
    other[:, 0, 0] = 1
    changed = (step(code, action, other.flatten()) - step(code, action, latent.flatten())).view(SHAPE).abs().sum(0) > 0
    assert changed[:3, :3].any()
    assert not changed[3:].any()
    assert not changed[:, 3:].any()


def test_an_action_is_told_to_every_place():
    step, code, latent = transition(), normal(3 * PLACES), normal(4 * PLACES)
    changed = step(code, torch.ones(2).double(), latent) - step(code, torch.zeros(2).double(), latent)
    assert (changed.view(SHAPE).abs().sum(0) > 0).all()


def test_draws_of_places_are_as_likely_as_their_logits_say():
    prior = CategoricalPlaces(PlaceNet(SHAPE, [4], [3]), 4).double()
    code = 3 * normal(3 * PLACES)
    uniform = torch.rand(20000, 4 * PLACES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    counts = prior.by_place(prior(code, uniform)).sum(0)
    assert counts.sum(-1).eq(20000).all()
    chances = prior.logits(code).softmax(-1).detach()
    pvalues = [
        stats.chisquare(seen.numpy(), (20000 * expected).numpy()).pvalue
        for seen, expected in zip(counts, chances, strict=True)
    ]
    assert stats.kstest(pvalues, "uniform").pvalue > 0.001  # seeds are fixed


@pytest.mark.parametrize("number", [0.0, 1.0])
def test_the_ends_of_uniform_numbers_draw_something(number):
    prior = CategoricalPlaces(PlaceNet(SHAPE, [4], [3]), 4)
    drawn = prior(torch.zeros(3 * PLACES), torch.full((4 * PLACES,), number))
    assert prior.by_place(drawn).sum(-1).eq(1).all()


def test_a_channel_of_places_chooses_in_each_and_passes_derivatives():
    channel = PlacesChannel(4)
    logits = normal(2, 4 * PLACES).requires_grad_()
    choices = channel(logits)
    assert choices.view(2, 4, PLACES).sum(1).allclose(torch.ones(2, PLACES).double())
    (slope,) = torch.autograd.grad((choices * normal(2, 4 * PLACES, seed=1)).sum(), logits)
    assert slope.abs().sum() > 0
    settled = channel.eval()(logits.detach())
    torch.testing.assert_close(settled.view(2, 4, PLACES).argmax(1), logits.view(2, 4, PLACES).argmax(1))
