"""The parts of the study of planning under uncertainty whose answers are known."""

import runpy
import sys

import pytest
import torch
from runs import ROOT

from ebm.worlds import DynamicObstacles, simulate
from ebm.worlds.policies import Uniform

PROGRAMS = ROOT / "benchmarks" / "programs"


@pytest.fixture(scope="module")
def programs():
    sys.path.insert(0, str(PROGRAMS))
    try:
        return {
            name: runpy.run_path(str(PROGRAMS / f"{name}.py"))
            for name in ("uncertainty_models", "uncertainty_readings", "uncertainty")
        }
    finally:
        sys.path.remove(str(PROGRAMS))


def test_the_expected_length_of_a_trip_is_the_mean_over_what_may_happen(programs):
    """Against a simulation of coins."""
    chances = torch.tensor([[0.1, 0.0], [0.3, 0.2], [0.0, 0.5]])
    generator = torch.Generator().manual_seed(0)
    happened = torch.rand(40000, 3, 2, generator=generator) < chances
    total, alive = torch.zeros(40000), torch.ones(40000)
    for t in range(3):
        total += alive * (1 + 20 * happened[:, t, 0])
        alive = alive * ~happened[:, t].any(-1)
    total += alive * 7
    found = programs["uncertainty_models"]["expected_trip"](chances, torch.tensor(7.0), 20.0)
    assert float(found) == pytest.approx(float(total.mean()), abs=0.15)  # three standard errors


def test_the_chance_of_a_collision_on_the_way_grows_to_that_of_any(programs):
    chances = torch.tensor([[0.1, 0.0], [0.3, 0.0], [0.2, 0.0]])
    found = programs["uncertainty_models"]["collision"](chances)
    torch.testing.assert_close(found, 1 - (1 - chances[:, 0]).cumprod(0))


def test_the_plans_that_are_left_out_lead_nowhere_else(programs):
    """Every sequence of turns and steps ends in a place and heading that one of those that are kept ends in."""
    world = DynamicObstacles(size=16, obstacles=0)
    start = torch.tensor([7.0, 7, 0, 0, 0, 0])

    def ends(plans):
        states = start.expand(len(plans), -1)
        for t in range(4):
            states = world.step(states, plans[:, t], world.noise(states, torch.Generator()))
        return {tuple(state[:3].tolist()) for state in states}

    everything = torch.cartesian_prod(*[torch.arange(3)] * 4)
    kept = programs["uncertainty"]["sequences"](4)
    assert len(kept) == 41
    assert ends(kept) == ends(torch.eye(3)[everything])


def test_impossible_states_have_one_obstacle_where_none_was_near(programs):
    world = DynamicObstacles(anywhere=True)
    generator = torch.Generator().manual_seed(0)
    states = simulate(world, Uniform(), 200, 1, generator).states
    moved = programs["uncertainty_readings"]["impossible"](world, states[:, 0], states[:, 1], generator)
    old, new = (part[:, 6:].unflatten(-1, (4, 2)) for part in (states[:, 0], moved))
    assert (old - new[:, :1]).abs().amax(-1).amin(-1).ge(2).all()
    assert world.truth(moved)["obstacles"].sum(-1).eq(4).all()
    torch.testing.assert_close(moved[:, 8:], states[:, 1, 8:])
