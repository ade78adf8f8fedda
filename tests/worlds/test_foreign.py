"""Episodes of environments that are not ours: what is kept of them, and the same again from the same seed."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch

from ebm.data.recorded import read, write
from ebm.worlds.foreign import Frame, record


def vector(observation, environment):
    return torch.as_tensor(observation)


class Counter(gymnasium.Env):
    """Counts to `end`; the action is a number from 0 to 10, or one of three from 5."""

    def __init__(self, choices: bool = False, end: int = 4, interrupted: int | None = None) -> None:
        self.action_space = gymnasium.spaces.Discrete(3, start=5) if choices else gymnasium.spaces.Box(0, 10, (1,))
        self.observation_space = gymnasium.spaces.Box(0, 255, (4, 6, 3), np.uint8)
        self.end, self.interrupted, self.count, self.episodes, self.closed = end, interrupted, 0, 0, False

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.episodes = 0, self.episodes + 1
        return self._seen(), {}

    def step(self, action):
        self.count += 1
        if self.interrupted == self.episodes:
            raise KeyboardInterrupt
        return self._seen(), self.count / 2, self.count == self.end, False, {}

    def close(self):
        self.closed = True

    def _seen(self):
        return np.full((4, 6, 3), [self.count, 100, 200], np.uint8)


def recorded(environment, episodes=2, **settings):
    return list(record(environment, episodes, progress=False, **settings))


def test_an_episode_has_all_that_was_seen_done_and_earned():
    (episode,) = recorded(Counter(), 1, observe=Frame(size=2, rendered=False))
    assert episode.observations[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert episode.observations.shape == (5, 3, 2, 2)
    assert episode.observations.dtype == torch.uint8
    assert episode.rewards.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert episode.terminated


def test_an_episode_is_cut_when_it_is_long_enough():
    (episode,) = recorded(Counter(), 1, observe=Frame(size=2, rendered=False), longest=2)
    assert len(episode.actions) == 2
    assert not episode.terminated


def test_a_box_is_scaled_to_one_from_minus_1_to_1_and_choices_are_one_hot():
    observe = Frame(size=2, rendered=False)
    done = iter([0.0, 10.0, 5.0, 7.5])
    (episode,) = recorded(Counter(), 1, observe=observe, policy=lambda seen, drawn: np.array([next(done)]))
    assert episode.actions.tolist() == [[-1.0], [1.0], [0.0], [0.5]]
    chosen = iter([5, 7, 6, 5])
    (episode,) = recorded(Counter(choices=True), 1, observe=observe, policy=lambda seen, drawn: next(chosen))
    assert episode.actions.argmax(-1).tolist() == [0, 2, 1, 0]
    assert torch.equal(episode.actions.sum(-1), torch.ones(4))


@pytest.mark.parametrize("policy", [None, lambda seen, drawn: int(drawn.integers(2))])
def test_one_seed_gives_the_same_episodes_and_another_others(policy):
    runs = [recorded("CartPole-v1", 3, seed=seed, observe=vector, policy=policy) for seed in (0, 0, 1)]
    same = [torch.equal(a.observations, b.observations) for a, b in zip(runs[0], runs[1], strict=True)]
    assert all(same)
    assert not torch.equal(runs[0][0].observations[0], runs[2][0].observations[0])
    assert not torch.equal(runs[0][0].observations[0], runs[0][1].observations[0])


def test_truths_are_kept_beside():
    told = {"count": lambda environment: torch.tensor([float(environment.count)])}
    (episode,) = recorded(
        Counter(),
        1,
        observe=Frame(size=2, rendered=False),
        truth=lambda seen, environment: {name: tell(environment) for name, tell in told.items()},
    )
    assert episode.truth["count"].tolist() == [[0.0], [1.0], [2.0], [3.0], [4.0]]


def test_grey_is_the_brightness_of_the_three_colours():
    (episode,) = recorded(Counter(), 1, observe=Frame(size=2, grey=True, rendered=False))
    expected = [round(0.299 * count + 0.587 * 100 + 0.114 * 200) for count in range(5)]
    assert episode.observations[:, 0, 1, 1].tolist() == expected


def test_a_frame_is_made_smaller_without_losing_what_is_thin():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 33] = 255
    seen = Frame(size=8, rendered=False)(picture, None)
    # A line of 1 in 64 is an eighth of a pixel of 8: a triangle twice as wide spreads it, and keeps its sum.
    assert seen[0].float().mean().item() == pytest.approx(255 / 64, rel=0.15)
    assert (seen[0].amax(1) > 10).all()


def test_interrupted_it_keeps_the_episodes_that_are_whole(tmp_path):
    episodes = record(Counter(interrupted=3), 5, observe=Frame(size=2, rendered=False), progress=False)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "x.parquet", episodes)
    assert [len(episode.actions) for episode in read(tmp_path / "x.parquet")] == [4, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_an_environment_that_was_given_stays_open():
    environment = Counter()
    recorded(environment, 1, observe=Frame(size=2, rendered=False))
    assert not environment.closed


def test_progress_is_told_on_the_error_stream(capsys):
    list(record(Counter(), 1, observe=Frame(size=2, rendered=False)))
    assert capsys.readouterr().out == ""


def test_what_cannot_be_recorded_is_refused():
    with pytest.raises(ValueError, match="gymnasium cannot make 'Nowhere-v0'"):
        recorded("Nowhere-v0")
    with pytest.raises(ValueError, match="at least 1 episode"):
        recorded(Counter(), 0)
    with pytest.raises(
        ValueError, match=r"a picture .* of bytes, .* gives NoneType: make it with render_mode='rgb_array'"
    ):
        recorded(gymnasium.make("CartPole-v1"))
    with pytest.raises(ValueError, match=r"gives float32 \(4,\)"):
        recorded("CartPole-v1", observe=Frame(rendered=False))
    unbounded = Counter()
    unbounded.action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,))
    with pytest.raises(ValueError, match=r"choices \(Discrete\) or a Box with bounds"):
        recorded(unbounded)


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("ebm.worlds.foreign.HOMES", {"ALE/": "no_such_package"})
    with pytest.raises(ImportError, match=r"pip install 'ebm-lab\[worlds\]'"):
        recorded("ALE/Freeway-v5")


@pytest.mark.parametrize("name", ["ALE/Freeway-v5", "MiniGrid-Empty-5x5-v0"])
def test_games_and_grids_are_recorded_by_their_ids(name):
    pytest.importorskip({"ALE": "ale_py"}.get(name[:3], "minigrid"))
    (episode,) = recorded(name, 1, observe=Frame(size=16, grey=True), longest=3)
    assert episode.observations.shape == (len(episode.actions) + 1, 1, 16, 16)
    assert episode.observations.float().std() > 0
