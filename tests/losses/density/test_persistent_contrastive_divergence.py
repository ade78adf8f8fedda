import copy

import pytest
import torch
from bowls import TRUTH, Bowl, data
from conftest import normal

from ebm import FreeEnergy, Hamiltonian, Langevin, MetropolisLangevin
from ebm.learner import Learner, Term
from ebm.losses import PersistentContrastiveDivergence

FROZEN = 1e-30
"""A temperature at which Langevin steps of a bowl are those of gradient descent, to 1e-15."""

DECAY = (1 - 0.1 * 2.0) ** 3
"""What three such steps of 0.1 leave of a distance from the centre of a bowl of curvature 2."""


def sevens(rows):
    return torch.full_like(rows, 7.0)


def frozen(size=10, restart=0.0, **settings):
    return PersistentContrastiveDivergence(Langevin(0.1), 3, size, restart, temperature=FROZEN, **settings)


F = FreeEnergy(Bowl(2.0))


def test_each_chain_goes_on_from_where_it_was_left_and_is_put_back_there():
    loss, y = frozen(), normal(4, 2)
    loss(F, None, y)
    for _ in range(5):
        before = loss.chains.clone()
        value = loss(F, None, y)
        moved = (loss.chains != before).all(1)
        assert moved.sum() == 4
        torch.testing.assert_close(loss.chains[moved], DECAY * before[moved], rtol=1e-9, atol=1e-12)
        expected = y.square().sum(1).mean() - loss.chains[moved].square().sum(1).mean()
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (7, 7), (9, 8)])
def test_every_chain_is_drawn_sooner_or_later(size, batch):
    loss = frozen(size, noise=sevens)
    for _ in range(60):  # one of 10 is left out by 60 draws of 4 with a probability of 5e-14
        loss(F, None, normal(batch, 2))
    assert (loss.chains != 7).all()


def test_a_share_of_the_chains_starts_anew_from_noise():
    loss, y = frozen(size=400, restart=0.25, noise=sevens), normal(400, 2)
    loss(F, None, y)
    loss.chains.zero_()
    loss(F, None, y)
    anew = loss.chains[:, 0] > 1
    torch.testing.assert_close(loss.chains[anew], torch.full_like(loss.chains[anew], 7 * DECAY), rtol=1e-9, atol=0)
    assert abs(anew.double().mean().item() - 0.25) < 5 * (0.25 * 0.75 / 400) ** 0.5


def test_in_evaluation_chains_stay_where_they_are():
    loss, y = frozen(), normal(4, 2)
    loss(F, None, y)
    before = loss.chains.clone()
    loss.eval()(F, None, y)
    assert torch.equal(loss.chains, before)


def test_chains_come_back_from_a_checkpoint_into_a_new_loss():
    loss, y = PersistentContrastiveDivergence(Hamiltonian(), 2, size=12), normal(4, 2, 3)
    F = FreeEnergy(Images(2.0))
    loss(F, None, y)
    again = PersistentContrastiveDivergence(Hamiltonian(), 2, size=12)
    assert not any(again.load_state_dict(loss.state_dict()))
    for one in (loss, again, copy.deepcopy(again)):
        torch.manual_seed(5)
        one.last = one(F, None, y)
    assert torch.equal(loss.last, again.last)
    assert torch.equal(loss.chains, again.chains)


class Images(Bowl):
    def cost(self, hx, hy, z=None):
        return super().cost(hx, hy.flatten(1))


def test_a_new_learner_resumes_with_the_chains_before_and_after_the_first_batch():
    def learner():
        return Learner(Bowl(), losses={"pcd": Term(1.0, frozen())})

    first = learner()
    assert not any(learner().load_state_dict(first.state_dict()))
    first.losses["pcd"](F, None, normal(4, 2))
    second = learner()
    assert not any(second.load_state_dict(first.state_dict()))
    assert torch.equal(second.losses["pcd"].chains, first.losses["pcd"].chains)


def test_training_by_it_finds_the_truth():
    energy, y = Bowl(2.0), data(4000, 2)
    loss = PersistentContrastiveDivergence(MetropolisLangevin(0.5), steps=5, size=1000)
    optimizer, path = torch.optim.SGD(energy.parameters(), lr=0.05), []
    torch.manual_seed(1000)
    for _ in range(400):
        optimizer.zero_grad()
        loss(FreeEnergy(energy), None, y[torch.randint(4000, (500,))]).backward()
        optimizer.step()
        path.append(energy.k.item())
    # The curvature of 4000 samples of 2 features is within 1.1% (one standard error) of the truth; the average over
    # the last 250 steps adds about as much, and 5% of restarts that have taken a few steps only add some 1%.
    assert sum(path[150:]) / 250 == pytest.approx(TRUTH, rel=0.06)


def test_a_batch_beyond_the_chains_is_refused_with_what_to_raise():
    with pytest.raises(ValueError, match="a batch of 11 needs as many chains, but `size` is 10: raise it"):
        frozen()(F, None, normal(11, 2))


def test_other_data_or_another_size_than_the_chains_have_is_refused():
    loss = frozen()
    loss(F, None, normal(4, 2))
    with pytest.raises(ValueError, match=r"10 chains of shape \(2,\), but `size` is 10 and the data of shape \(3,\)"):
        loss(F, None, normal(4, 3))
    larger = frozen(size=20)
    larger.load_state_dict(loss.state_dict())
    with pytest.raises(ValueError, match=r"10 chains of shape \(2,\), but `size` is 20"):
        larger(F, None, normal(4, 2))


@pytest.mark.parametrize("restart", [-0.1, 1.5, float("nan")])
def test_a_share_is_from_zero_to_one(restart):
    with pytest.raises(ValueError, match="`restart` is the share of chains to start anew, from 0 to 1"):
        PersistentContrastiveDivergence(restart=restart)
