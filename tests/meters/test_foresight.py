import math

import pytest
import torch
from conftest import Table, normal

from ebm import FreeEnergy
from ebm.energies import LearnedDynamics, Situation, WorldModel
from ebm.meters import effective_rank, foresight
from ebm.meters.foresight import explained
from ebm.networks import MLP, ResidualTransition


def moving(n=64, steps=3, seed=0):
    """Codes that are what is seen, and move by what is done."""
    start, actions = normal(n, 2, seed=seed), normal(n, steps, 2, seed=seed + 1)
    return Situation(start, actions), start[:, None] + actions.cumsum(1)


def model(knows: bool):
    """One whose codes are what is seen, and whose transition adds the action, or does nothing."""
    encoder, transition = MLP([2, 2]), ResidualTransition(2, 2, 0, ())
    with torch.no_grad():
        for layer in (encoder.layers[0], transition.change.layers[0]):
            layer.weight.zero_()
            layer.bias.zero_()
        encoder.layers[0].weight.copy_(torch.eye(2))
        transition.change.layers[0].weight[:, 2:] = torch.eye(2) * knows
    return WorldModel(LearnedDynamics(encoder, transition, observation_axes=1)).double()


def read(energy, x, y):
    return foresight(FreeEnergy(energy), *energy.encode(x, y))


def test_a_model_that_knows_the_world_explains_everything():
    found = read(model(knows=True), *moving())
    assert found["explained_first"] == pytest.approx(1, abs=1e-12)
    assert found["explained_last"] == pytest.approx(1, abs=1e-12)


def test_a_model_without_dynamics_explains_what_staying_would():
    found = read(model(knows=False), *moving())
    assert found["explained_last"] == pytest.approx(found["change_last"], abs=1e-12)
    assert found["explained_last"] < found["explained_first"] < 1


def test_spread_and_rank_are_those_of_the_codes_of_all_times():
    x, y = moving()
    whole = torch.cat([x.observation[:, None], y], 1).flatten(0, 1)
    found = read(model(knows=True), x, y)
    assert found["trajectory_effective_rank"] == pytest.approx(effective_rank(whole))
    assert found["trajectory_std"] == pytest.approx(whole.std(0, correction=0).mean().item())


def test_codes_that_have_collapsed_explain_nothing_however_small_the_error():
    energy = model(knows=False)
    with torch.no_grad():
        energy.dynamics.reading.encoder.layers[0].weight.zero_()
    assert math.isnan(read(energy, *moving())["explained_last"])


def test_the_mean_explains_nothing():
    truth = normal(20, 3)
    assert explained(truth.mean(0).expand_as(truth), truth) == pytest.approx(0, abs=1e-12)


def test_an_energy_without_trajectories_is_refused():
    with pytest.raises(ValueError, match="trajectories"):
        foresight(FreeEnergy(Table(torch.eye(2))), torch.zeros(2, 2), torch.zeros(2, 2))
