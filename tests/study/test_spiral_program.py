"""The program of the studies of the spiral: its exact reading, and its arms."""

import sys

import numpy as np
import pytest
import torch
import yaml
from runs import ROOT, STUDIES

from ebm.data import Spirals

sys.path.insert(0, str(ROOT / "benchmarks" / "programs"))
import spiral

ARMS = sorted((STUDIES / "arms" / "spiral").glob("*.yaml"))


@pytest.mark.parametrize("rotated", [False, True])
def test_a_network_that_does_nothing_leaves_all_information(rotated):
    source = Spirals(dimensions=4, noise=0.05, rotated=rotated)
    points = spiral.drawn(source, 2048, 1)
    found = spiral.exact(spiral.Displaced(4, 8), points, source)
    # Entropies of four single dimensions and a covariance, each off by about sqrt(1 / 2048) of a nat.
    assert found["left/total"] == pytest.approx(source.information / 2, abs=0.1)
    assert found["left/negentropy"] == pytest.approx(source._spiral.negentropy, abs=0.1)


def test_a_linear_map_changes_no_negentropy():
    source = Spirals(dimensions=2, noise=0.05)
    points = spiral.drawn(source, 2048, 1)
    layer = torch.nn.Linear(2, 2)
    plain = spiral.exact(torch.nn.Identity(), points, source)["left/negentropy"]
    # Single precision in the codes and in the derivative.
    assert spiral.exact(layer, points, source)["left/negentropy"] == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.stem)
def test_every_arm_is_one_number_of_codes_and_has_a_name(arm):
    value = spiral.value(spiral.terms(arm), torch.from_numpy(np.random.default_rng(0).normal(size=(16, 4))))
    assert value.isfinite()
    assert yaml.safe_load(arm.read_text())["name"]
