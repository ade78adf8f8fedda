"""The equations of a linear network under InfoNCE that the study of its collapse integrates."""

import runpy

import numpy as np
import pytest
import torch
from runs import ROOT

PROGRAM = runpy.run_path(str(ROOT / "benchmarks" / "programs" / "linear_dynamics.py"))


def network(layers, amplitude, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return PROGRAM["drawn_weights"](layers, 0.5, generator), PROGRAM["draw"](2, amplitude, generator)


@pytest.mark.parametrize("layers", [1, 2])
def test_the_equations_are_the_gradient_of_the_loss(layers):
    assert PROGRAM["gradient_error"](layers, 1.5, 0.5, 0) < 1e-12  # both are exact: rounding of double precision


def test_the_push_is_the_sum_over_pairs_that_the_paper_writes():
    (weight,), (x, y) = network(1, 0.7)
    expected = torch.zeros(16, 16, dtype=torch.double)
    for a, b in zip(x[:, :12], y[:, :12], strict=True):
        for i in range(12):
            logits = torch.stack([-(weight @ (a[i] - b[j])).square().sum() / 2 for j in range(12)])
            for j, share in enumerate(logits.softmax(0)):
                expected += share * torch.outer(a[i] - b[j], a[i] - b[j]) / (2 * 12)
            expected -= torch.outer(a[i] - b[i], a[i] - b[i]) / (2 * 12)
    found = PROGRAM["push"](weight, (x[:, :12], y[:, :12]))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)  # another order of the same sums


def test_layers_that_are_aligned_stay_so_and_follow_the_equations_of_singular_values():
    (first, _), (x, y) = network(2, 0.1)
    _, values, directions = torch.linalg.svd(first)
    second = torch.diag(values.flip(0))
    weights = [torch.diag(values) @ directions, second]
    slopes, force = PROGRAM["slopes"](weights, (x, y)), PROGRAM["push"](second @ weights[0], (x, y))
    growth = (directions @ force @ directions.T).diagonal()
    other = second.diagonal()
    expected = values * other**2 * growth
    torch.testing.assert_close((slopes[0] @ directions.T).diagonal(), expected)
    torch.testing.assert_close(slopes[1].diagonal(), other * values**2 * growth)


def test_the_flow_of_one_layer_under_a_push_that_does_not_change_is_an_exponential(monkeypatch):
    (weight,), pairs = network(1, 0.1)
    force = torch.diag(torch.linspace(-1, 1, 16, dtype=torch.double))
    monkeypatch.setitem(PROGRAM["flow"].__globals__, "push", lambda *_: force)
    (_, end) = PROGRAM["flow"]([weight], pairs, np.array([0.0, 1.0]))
    torch.testing.assert_close(end[0], weight @ torch.linalg.matrix_exp(force), rtol=1e-3, atol=1e-4)  # the solver's
