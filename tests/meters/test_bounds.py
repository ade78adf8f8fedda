import math

import pytest
import torch
from conftest import normal
from hypothesis import given
from hypothesis import strategies as st

from ebm.meters import information_bound
from ebm.meters.bounds import NWJ, SMILE, Bound, Critic, DonskerVaradhan, InfoNCE

BOUNDS = [InfoNCE(), NWJ(), DonskerVaradhan(), SMILE()]
EACH = pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: type(bound).__name__)

matrices = st.builds(
    lambda n, scale, seed: scale * normal(n, n, seed=seed),
    n=st.integers(2, 12),
    scale=st.sampled_from([0.1, 1.0, 10.0, 300.0]),
    seed=st.integers(0, 2**16),
)


def by_loop(bound, scores):
    """Each bound as its paper writes it, one exponential at a time."""
    t, n = scores.tolist(), len(scores)
    joint = sum(t[i][i] for i in range(n)) / n
    apart = [t[i][j] for i in range(n) for j in range(n) if i != j]
    if isinstance(bound, InfoNCE):
        return sum(math.log(math.exp(t[i][i]) / (sum(map(math.exp, t[i])) / n)) for i in range(n)) / n
    if isinstance(bound, NWJ):
        return joint - sum(math.exp(s - 1) for s in apart) / len(apart)
    if isinstance(bound, SMILE):
        apart = [max(-bound.clip, min(bound.clip, s)) for s in apart]
    return joint - math.log(sum(map(math.exp, apart)) / len(apart))


@EACH
def test_a_bound_is_what_its_paper_says(bound):
    scores = 4 * normal(7, 7)
    assert float(bound.value(scores)) == pytest.approx(by_loop(bound, scores), rel=1e-12)


def gaussian(count, rho, seed=0):
    x, noise = normal(count, 2, seed=seed).split(1, dim=1)
    return x, rho * x + (1 - rho**2) ** 0.5 * noise


def log_ratio(x, y, rho):
    """`log p(x, y) / p(x) p(y)` of all pairs of correlated standard normal numbers."""
    squares = rho**2 * (x.square() + y.T.square()) - 2 * rho * x * y.T
    return -0.5 * math.log(1 - rho**2) - squares / (2 * (1 - rho**2))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
@EACH
def test_with_the_best_critic_a_bound_is_the_mutual_information_of_correlated_normal_numbers(bound, rho):
    scores = log_ratio(*gaussian(2000, rho), rho)
    if isinstance(bound, NWJ):
        scores = scores + 1
    truth = -0.5 * math.log(1 - rho**2)
    # Four standard errors of the mean over 2,000 pairs, whose deviation is rho; clipping and `log mean` add 1e-3.
    assert float(bound.value(scores)) == pytest.approx(truth, abs=4 * rho / 2000**0.5 + 1e-3)


def test_the_best_critic_of_the_objective_of_smile_is_the_logarithm_of_the_ratio():
    scores = log_ratio(*gaussian(1000, 0.8), 0.8)
    best = SMILE().objective(scores)
    for other in (scores + 0.3, scores - 0.3, 1.3 * scores, 0.7 * scores, 0 * scores):
        assert SMILE().objective(other) < best


@given(scores=matrices)
def test_info_nce_is_never_above_the_logarithm_of_the_rows(scores):
    assert InfoNCE().value(scores) <= math.log(len(scores)) + 1e-12  # rounding
    sure = InfoNCE().value(scores + 1e4 * torch.eye(len(scores)))
    assert float(sure) == pytest.approx(math.log(len(scores)), rel=1e-9)


@given(scores=matrices, shift=st.floats(-5, 5))
def test_info_nce_takes_no_notice_of_a_function_of_x_nor_donsker_varadhan_of_a_constant(scores, shift):
    of_x = normal(len(scores), 1, seed=1)
    torch.testing.assert_close(InfoNCE().value(scores + of_x), InfoNCE().value(scores), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        DonskerVaradhan().value(scores + shift), DonskerVaradhan().value(scores), rtol=1e-9, atol=1e-9
    )


@given(scores=matrices)
def test_nwj_is_at_most_donsker_varadhan_and_equal_at_the_best_constant(scores):
    bound = DonskerVaradhan().value(scores)
    assert NWJ().value(scores) <= bound + 1e-9
    log_mean = scores.diagonal().mean() - bound
    torch.testing.assert_close(NWJ().value(scores - log_mean + 1), bound, rtol=1e-9, atol=1e-9)


@given(scores=matrices)
def test_smile_that_clips_nothing_is_donsker_varadhan_and_one_that_clips_is_above_where_scores_are_high(scores):
    torch.testing.assert_close(SMILE(1e6).value(scores), DonskerVaradhan().value(scores))
    assert SMILE(1.0).value(scores.abs()) >= DonskerVaradhan().value(scores.abs())


@EACH
def test_what_a_critic_learns_from_has_a_gradient_that_is_that_of_finite_differences(bound):
    assert torch.autograd.gradcheck(bound.objective, normal(5, 5).requires_grad_())


def spiral(count):
    turn = 4 * math.pi * torch.rand(count, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).sqrt()
    return turn * turn.cos() + 0.2 * normal(count, 1), turn * turn.sin() + 0.2 * normal(count, 1, seed=1)


def test_a_critic_finds_what_no_correlation_shows():
    x, y = spiral(2000)
    assert abs(float(torch.corrcoef(torch.cat([x, y], 1).T)[0, 1])) < 0.15
    assert information_bound(x, y, steps=300, batch=48) > 0.5


@EACH
def test_what_is_read_of_correlated_normal_numbers_is_close_to_the_truth(bound):
    x, y = gaussian(2000, 0.9)
    # Within .15 of .83: a standard error of .03 over 1,000 rows, and a short training, which leaves it below.
    assert information_bound(x, y, bound, steps=200, batch=32) == pytest.approx(-0.5 * math.log(1 - 0.81), abs=0.15)


@EACH
def test_of_independent_codes_almost_nothing_is_read_since_what_is_learned_by_heart_does_not_count(bound):
    x, y = normal(200, 3), normal(200, 3, seed=1)
    assert information_bound(x, y, bound, steps=100, batch=32) < 0.05


@pytest.mark.parametrize(
    "codes",
    [
        torch.zeros(16, 2),
        torch.full((16, 2), 0.1),
        normal(16, 2) * 1e30,
        normal(16, 2) * 1e-30,
        normal(16, 1).expand(-1, 3),
        normal(4, 2).repeat(4, 1),
        normal(8, 40),
        normal(16, 2).half(),
        normal(16, 2).bfloat16(),
    ],
)
@EACH
def test_of_degenerate_codes_the_reading_is_finite(bound, codes):
    assert math.isfinite(information_bound(codes, codes.flip(0), bound, steps=20))
    assert math.isfinite(information_bound(codes, codes, bound, steps=20))


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_reading_has_no_unit(scale):
    x, y = gaussian(100, 0.9)
    plain = information_bound(x, y, steps=20)
    # Single precision, over twenty steps.
    assert information_bound(scale * x, 3 * y + 1, steps=20) == pytest.approx(plain, abs=1e-3)


def test_the_same_seed_reads_the_same_and_leaves_generators_and_the_critic_alone():
    x, y = gaussian(100, 0.9)
    critic = Critic(1, 1)
    weights, state = critic.of_x.weight.detach().clone(), torch.get_rng_state()
    for given_critic in (None, critic):
        first = information_bound(x, y, critic=given_critic, steps=20)
        assert information_bound(x, y, critic=given_critic, steps=20) == first
        assert information_bound(x, y, critic=given_critic, steps=20, seed=1) != first
    assert torch.get_rng_state().equal(state)
    assert critic.of_x.weight.equal(weights)
    assert all(p.grad is None for p in critic.parameters())


class Product(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, y):
        return self.weight * x @ y.T


def test_a_critic_of_ones_own_is_the_one_that_learns():
    x, y = gaussian(400, 0.9)
    found = information_bound(x, y, critic=Product(), steps=200, rate=0.05)
    blind = information_bound(x, x.square(), critic=Product(), steps=200, rate=0.05)
    assert found > 0.3
    assert blind < 0.3 * found


def test_progress_is_shown_where_asked_for(capsys):
    x, y = gaussian(20, 0.9)
    information_bound(x, y, steps=2)
    assert capsys.readouterr().out == ""
    information_bound(x, y, steps=2, progress=True)
    assert "critic" in capsys.readouterr().out


def test_what_has_no_meaning_is_refused():
    x, y = gaussian(20, 0.9)
    with pytest.raises(ValueError, match="at least 8 codes, got a batch of 7"):
        information_bound(x[:7], y[:7])
    with pytest.raises(ValueError, match="steps=0"):
        information_bound(x, y, steps=0)
    with pytest.raises(ValueError, match="batch=1"):
        information_bound(x, y, batch=1)
    with pytest.raises(ValueError, match="clip=0"):
        SMILE(0)
    bilinear = torch.nn.Bilinear(1, 1, 1)
    with pytest.raises(ValueError, match=r"the scores \(n, m\) of all pairs, got \(10, 1\)"):
        information_bound(x, y, critic=bilinear)
    with pytest.raises(TypeError, match="abstract"):
        Bound()
