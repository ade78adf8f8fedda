import pytest
import torch
from conftest import normal

from ebm.regularizers import CrossCorrelation


def whitened(n=32, d=4):
    orthogonal, _ = torch.linalg.qr(normal(n, d) - normal(n, d).mean(0))
    return orthogonal * n**0.5


def test_branches_that_agree_in_features_that_do_not_repeat_cost_nothing():
    # But for epsilon, which takes 1e-5 of each correlation: its square, four times.
    assert CrossCorrelation()(whitened(), whitened()).item() == pytest.approx(4 * 1e-10, rel=1e-3)


def test_branches_that_disagree_cost_four_for_each_feature():
    assert CrossCorrelation()(whitened(), -whitened()).item() == pytest.approx(4 * 4, rel=1e-4)  # epsilon again


def test_features_that_repeat_cost_the_weight_of_redundancy_for_each_pair():
    codes = whitened()[:, :1].expand(32, 4)
    assert CrossCorrelation()(codes).item() == pytest.approx(5e-3 * 4 * 3, rel=1e-4)  # and again
    assert CrossCorrelation(redundancy=2.0)(codes).item() == pytest.approx(2.0 * 4 * 3, rel=1e-4)


def test_codes_at_one_point_cost_one_for_each_feature():
    assert CrossCorrelation()(torch.ones(8, 4)).item() == 4


def test_it_does_not_see_the_scale_of_a_feature():
    a, b = normal(16, 3), normal(16, 3, seed=1)
    scaled = CrossCorrelation()(a * torch.tensor([10.0, 100.0, 3.0]), 7 * b)
    # Epsilon is 1e-5 of a variance of one, and next to nothing of more.
    torch.testing.assert_close(scaled, CrossCorrelation()(a, b), rtol=1e-4, atol=1e-4)


def test_one_branch_is_compared_with_itself():
    a = normal(16, 3)
    assert torch.equal(CrossCorrelation()(a), CrossCorrelation()(a, a))


@pytest.mark.parametrize(
    ("shapes", "got"),
    [
        ([(8, 3), (8, 4)], r"\(8, 3\), \(8, 4\)"),
        ([(8, 3), (7, 3)], r"\(8, 3\), \(7, 3\)"),
        ([(8, 3)] * 3, r"\(8, 3\), \(8, 3\), \(8, 3\)"),
        ([], "none"),
    ],
    ids=["features", "samples", "three", "none"],
)
def test_what_is_not_two_branches_of_a_shape_is_refused_by_what_came(shapes, got):
    with pytest.raises(ValueError, match=f"two branches of codes of the same shape, got {got}"):
        CrossCorrelation()(*(normal(*shape) for shape in shapes))
