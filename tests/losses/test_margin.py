import pytest
import torch
from conftest import Table, normal
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from ebm import FreeEnergy
from ebm.distances import EuclideanDistance
from ebm.energies import JointEmbedding
from ebm.losses import MarginContrastive


@pytest.mark.parametrize("margin", [1.0, 2.5])
@given(n=st.integers(2, 6), seed=st.integers(0, 2**16))
def test_it_is_equation_4_of_hadsell_chopra_and_lecun_over_all_pairs(margin, n, seed):
    hx, hy = normal(n, 3, seed=seed), normal(n, 3, seed=seed + 1)
    pull, push = [], []
    for i in range(n):
        for j in range(n):
            distance = sum((p - q) ** 2 for p, q in zip(hx[i].tolist(), hy[j].tolist(), strict=True)) ** 0.5
            if i == j:
                pull.append(distance**2 / 2)
            else:
                push.append(max(0.0, margin - distance) ** 2 / 2)
    F = FreeEnergy(JointEmbedding(nn.Identity(), distance=EuclideanDistance()))
    expected = sum(pull) / len(pull) + sum(push) / len(push)
    assert MarginContrastive(margin)(F, hx, hy).item() == pytest.approx(expected, rel=1e-12)


def test_wrong_answers_beyond_the_margin_are_left_alone():
    table = Table(torch.tensor([[0.0, 0.0, 0.3, 1.2], [0.0, 0.0, 0.6, 0.1], [0.0] * 4, [0.0] * 4]).double())
    value = MarginContrastive(margin=1.0)(FreeEnergy(table), *table.codes())
    (slope,) = torch.autograd.grad(value, table.energies)
    assert value.item() == pytest.approx((0.3**2 + 0.1**2) / 2 / 2 + (0.0**2 + 0.4**2) / 2 / 2, rel=1e-7)
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[0, 2], expected[1, 3], expected[1, 2] = 0.3 / 2, 0.1 / 2, -0.4 / 2
    torch.testing.assert_close(slope, expected, atol=1e-7, rtol=0)  # 0.3 was written in single precision
