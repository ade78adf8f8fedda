import pytest
import torch

from ebm.data import Simulated, TrajectoryPairs
from ebm.worlds.two_rooms import TwoRooms


def source(**options):
    return Simulated(TwoRooms(), **({"train": 12, "held_out": 4, "steps": 6} | options))


def pairs(**options):
    data = TrajectoryPairs(source(), **({"steps": 3, "batch_size": 4} | options))
    data.setup("fit")
    return data


def test_trajectories_are_the_same_each_time_and_differ_between_parts_and_seeds():
    again = [source().trajectories(split) for split in ("train", "train", "test")]
    assert torch.equal(again[0].states, again[1].states)
    assert not torch.equal(again[0].states[:4], again[2].states)
    assert not torch.equal(again[0].states, source(seed=1).trajectories("train").states)


def test_what_was_done_leads_from_each_state_to_the_next():
    states, actions = source().trajectories("train")
    after = TwoRooms().step(states[:, :-1], actions)
    torch.testing.assert_close(after, states[:, 1:])


def test_a_piece_is_what_is_seen_first_what_is_done_and_what_is_seen_then():
    data = pairs(steps=6)  # as long as the trajectory, so that there is one piece of each
    states, actions = source().trajectories("train")
    x, y = data.pieces(states, actions)
    assert torch.equal(x.observation, TwoRooms().observe(states[:, 0]))
    assert torch.equal(x.actions, actions)
    assert torch.equal(y, TwoRooms().observe(states[:, 1:]))


def test_pieces_begin_at_every_time_that_leaves_enough():
    data = pairs(steps=3)
    states, actions = source().trajectories("train")
    torch.manual_seed(0)
    found = set()
    for _ in range(40):
        x, _ = data.pieces(states, actions)
        found |= {
            first for row in range(12) for first in range(6) if torch.equal(x.actions[row, 0], actions[row, first])
        }
    assert found == {0, 1, 2, 3}


def test_batches_are_pairs_as_a_world_model_takes_them():
    data = pairs()
    x, y = data.pieces(*next(iter(data.train_dataloader())))
    assert x.observation.shape == (4, *TwoRooms().observe(source().trajectories("train").states[:1, 0]).shape[1:])
    assert x.actions.shape == (4, 3, 2)
    assert y.shape[:2] == (4, 3)


def test_pieces_longer_than_trajectories_are_refused_before_training():
    with pytest.raises(ValueError, match="pieces of 7 steps need trajectories of as many, but these have 6"):
        pairs(steps=7)


@pytest.mark.parametrize("name", ["train", "held_out", "steps"])
def test_no_trajectories_are_refused(name):
    with pytest.raises(ValueError, match=name):
        source(**{name: 0})
