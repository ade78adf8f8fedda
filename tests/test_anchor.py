"""The program of the anchor: its terms are the published ones, and what it plays is within the limit."""

import argparse
import dataclasses
import sys

import pytest
import torch
from runs import ROOT

from ebm.energies import LearnedDynamics
from ebm.networks import MLP

sys.path.insert(0, str(ROOT / "benchmarks" / "programs"))
import anchor

SETTING = dataclasses.replace(anchor.SMALL, features=6, rollout=3)


def tiny():
    """A model of observations of 4 numbers, the terms, and codes with actions to read."""
    torch.manual_seed(0)
    dynamics = LearnedDynamics(MLP([4, 6]), anchor.Renormalized(anchor.RecurrentTransition(6, 2)), observation_axes=1)
    return dynamics, anchor.Terms(SETTING), torch.randn(5, 9, 6), torch.rand(5, 8, 2)


def test_the_terms_are_the_published_formulas():
    dynamics, terms, codes, actions = tiny()
    found = terms(dynamics, codes, actions)
    flat = codes.flatten(0, 1)
    off = torch.cov(flat.T)[~torch.eye(6, dtype=torch.bool)]
    assert float(found["covariance"]) == pytest.approx(float(off.square().mean()), rel=1e-4)  # single precision
    short = (1 - (flat.var(0) + 1e-4).sqrt()).relu().mean()
    assert float(found["variance"]) == pytest.approx(float(short), rel=1e-4, abs=1e-6)
    assert float(found["smoothness"]) == pytest.approx(float(codes.diff(dim=1).square().mean()), rel=1e-5)
    guess = terms.inverse.network(torch.cat([codes[:, :-1], codes[:, 1:]], -1))
    in_pixels = (SETTING.world.reach * (guess - actions)).square().mean()
    assert float(found["inverse"].detach()) == pytest.approx(float(in_pixels.detach()), rel=1e-5)


def test_the_prediction_starts_at_the_first_code_alone():
    dynamics, terms, codes, actions = tiny()
    code, wrong = codes[:, 0], []
    for step in range(SETTING.rollout):
        cell = dynamics.transition.inner.cell(actions[:, step], code)
        code = dynamics.transition.norm(cell)
        wrong.append((code - codes[:, step + 1]).square().mean())
    expected = float(torch.stack(wrong).mean().detach())
    assert float(terms(dynamics, codes, actions)["prediction"].detach()) == pytest.approx(expected, rel=1e-5)


def test_pictures_are_standardized_by_channel():
    pictures = torch.rand(40, 2, 5, 5) * torch.tensor([1.0, 9.0])[:, None, None] + 3
    seen = anchor.Standardized(torch.nn.Identity(), pictures)(pictures)
    torch.testing.assert_close(seen.mean((0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)  # float32 sums of 1,000
    torch.testing.assert_close(seen.std((0, 2, 3)), torch.ones(2))


@pytest.mark.parametrize("arm", ["none", "no_inverse"])
def test_a_run_keeps_all_planners_within_the_limit(arm):
    options = argparse.Namespace(setting="small", arm=arm, device="cpu", planners="mppi,gradient", seed=0)
    vars(options).update({"steps": 2, "episodes": 2, "horizon": 2, "batch": 4, "moments": 2})
    found = anchor.run(options)
    longest = {name: value for name, value in found.items() if name.endswith("/longest") and "random" not in name}
    assert longest
    assert max(longest.values()) <= 1 + 1e-6  # the norm, in single precision
    assert all(0 <= value <= 1 for name, value in found.items() if name.endswith("/at_goal"))
