import math

import pytest
import torch
from bowls import Bowl, Quadratic, data, fitted, symmetric
from conftest import normal

from ebm import FreeEnergy
from ebm.losses import ScoreMatching, SlicedScoreMatching


def test_its_expectation_is_exact_score_matching_in_value_and_gradient():
    energy, y = Quadratic(symmetric(4)), normal(6, 4, seed=1)
    F = FreeEnergy(energy)
    exact = ScoreMatching()(F, None, y)
    (exact_gradient,) = torch.autograd.grad(exact, energy.matrix)
    values, gradients = [], []
    for _ in range(400):
        value = SlicedScoreMatching(4)(F, None, y)
        values.append(value.detach())
        gradients.append(torch.autograd.grad(value, energy.matrix)[0])
    found, slopes = torch.stack(values), torch.stack(gradients)
    # Five standard errors; on the diagonal, where v^2 is 1, there is no error but rounding.
    assert abs(found.mean() - exact) < 5 * found.std() / math.sqrt(400)
    assert ((slopes.mean(0) - exact_gradient).abs() < 5 * slopes.std(0) / math.sqrt(400) + 1e-12).all()


def test_it_is_the_formula_for_the_directions_that_were_drawn():
    a, y = symmetric(3), normal(5, 3)
    torch.manual_seed(7)
    value = SlicedScoreMatching(2)(FreeEnergy(Quadratic(a)), None, y)
    torch.manual_seed(7)
    v = torch.randint(2, (2, 5, 3)).double() * 2 - 1
    total = 0.0
    for i in range(5):
        total += (a @ y[i]).square().sum() / 2 - sum(v[m, i] @ a @ v[m, i] for m in range(2)) / 2
    assert value.item() == pytest.approx(total.item() / 5, rel=1e-12)


@pytest.mark.parametrize("features", [2, 8])
def test_one_projection_is_exact_where_features_do_not_interact(features):
    y = data(500, features)
    torch.testing.assert_close(
        SlicedScoreMatching()(FreeEnergy(Bowl(0.4)), None, y),
        ScoreMatching()(FreeEnergy(Bowl(0.4)), None, y),
        rtol=1e-12,
        atol=1e-12,
    )
    assert fitted(SlicedScoreMatching(), y) == pytest.approx(fitted(ScoreMatching(), y), rel=1e-8)


def test_no_projections_are_refused():
    with pytest.raises(ValueError, match="`projections` of SlicedScoreMatching is a whole number of at least 1"):
        SlicedScoreMatching(0)
