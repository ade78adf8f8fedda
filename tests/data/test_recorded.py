"""Trajectories in files: bit for bit what was written, nothing by halves, and pieces to learn from."""

from __future__ import annotations

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ebm.data import recorded
from ebm.data.recorded import Recorded, read, write
from ebm.data.trajectories import TrajectoryPairs
from ebm.worlds import SMaze, TwoRooms, Wander, simulate
from ebm.worlds.episode import Episode, observed

DTYPES = [torch.uint8, torch.float16, torch.float32, torch.float64]


def episode(steps: int = 5, shape: tuple[int, ...] = (1, 2, 2), dtype=torch.uint8, seed: int = 0, terminated=False):
    drawn = torch.Generator().manual_seed(seed)
    seen = (torch.rand((steps + 1, *shape), generator=drawn) * 255).to(dtype)
    rewards = torch.rand(steps, generator=drawn, dtype=torch.float64)
    return Episode(seen, torch.rand(steps, 2, generator=drawn), rewards, terminated, {"time": torch.rand(steps + 1, 1)})


def numbered(lengths: list[int]) -> list[Episode]:
    """Each observation is the number of the episode and the step, so that pieces can be read off."""
    made = []
    for index, steps in enumerate(lengths):
        times = torch.arange(steps + 1, dtype=torch.float32)
        seen = torch.stack([torch.full_like(times, index), times], -1).view(-1, 2, 1, 1)
        made.append(Episode(seen, times[:-1, None] + 100 * index, torch.zeros(steps, dtype=torch.float64), True, {}))
    return made


def same(first: Episode, second: Episode) -> None:
    for one, other in zip(first[:3], second[:3], strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert first.terminated == second.terminated
    assert first.truth.keys() == second.truth.keys()
    assert all(torch.equal(first.truth[name], second.truth[name]) for name in first.truth)


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    shape=st.lists(st.integers(1, 4), max_size=3).map(tuple),
    dtype=st.sampled_from(DTYPES),
    enough=st.sampled_from([1, 500, 10**6]),
)
def test_what_is_read_is_what_was_written(tmp_path_factory, lengths, shape, dtype, enough):
    path = tmp_path_factory.mktemp("trajectories") / "x.parquet"
    written = [episode(steps, shape, dtype, seed, seed % 2 == 0) for seed, steps in enumerate(lengths)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorded, "ENOUGH", enough)
        assert write(path, written) == len(lengths)
    for one, other in zip(written, read(path), strict=True):
        same(one, other)


def test_what_is_no_number_comes_back_as_such(tmp_path):
    odd = episode(dtype=torch.float32)
    odd.observations[0] = torch.nan
    odd.rewards[1] = torch.inf
    write(tmp_path / "x.parquet", [odd])
    (found,) = read(tmp_path / "x.parquet")
    assert found.observations[0].isnan().all()
    assert found.rewards[1] == torch.inf


def test_episodes_are_taken_one_by_one_and_not_all_held(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "ENOUGH", 1000)
    write(tmp_path / "x.parquet", (episode(20, seed=seed) for seed in range(20)))
    groups = pq.ParquetFile(tmp_path / "x.parquet").num_row_groups
    assert groups >= 10
    assert len(list(read(tmp_path / "x.parquet"))) == 20


def test_any_reader_of_parquet_finds_the_columns_that_are_documented(tmp_path):
    written = episode(3, terminated=True)
    write(tmp_path / "x.parquet", [written, episode(2, seed=1)])
    table = pd.read_parquet(tmp_path / "x.parquet")
    assert list(table.columns) == [*recorded.COLUMNS, "truth.time"]
    assert all(f"`{name}`" in recorded.__doc__ for name in recorded.COLUMNS)
    assert table["episode"].tolist() == [0] * 4 + [1] * 3
    assert table["step"].tolist() == [0, 1, 2, 3, 0, 1, 2]
    assert table["observation"][1] == written.observations[1].numpy().tobytes()
    assert [len(action) for action in table["action"]] == [2, 2, 2, 0, 2, 2, 0]
    assert table["reward"].isna().tolist() == [False] * 3 + [True] + [False] * 2 + [True]
    assert table["terminated"].tolist() == [False] * 3 + [True] + [False] * 3
    assert table["truncated"].tolist() == [False] * 6 + [True]


def test_a_file_that_another_program_wrote_anew_is_read(tmp_path):
    write(tmp_path / "x.parquet", [episode(seed=seed) for seed in range(4)])
    table = pq.read_table(tmp_path / "x.parquet")
    small = table.set_column(2, "observation", table["observation"].cast(pa.binary()))
    pq.write_table(small.replace_schema_metadata(table.schema.metadata), tmp_path / "y.parquet", row_group_size=4)
    for one, other in zip(read(tmp_path / "x.parquet"), read(tmp_path / "y.parquet"), strict=True):
        same(one, other)


def test_an_error_on_the_way_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "x.parquet"
    write(path, [episode(seed=7)])

    def broken():
        yield episode()
        raise RuntimeError("the environment fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        write(path, broken())
    assert [each.name for each in tmp_path.iterdir()] == ["x.parquet"]
    same(next(read(path)), episode(seed=7)._replace(truth=next(read(path)).truth))


def test_no_episodes_make_no_file(tmp_path):
    with pytest.raises(ValueError, match="no episodes to write"):
        write(tmp_path / "x.parquet", [])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (episode(shape=(1, 3, 2)), r"of another kind .*\n.*\[1, 3, 2\].*\n.*\n.*\[1, 2, 2\]"),
        (episode(dtype=torch.float32), "float32"),
        (episode()._replace(truth={}), "truth.time"),
        (episode()._replace(observations=episode(4).observations), "actions for 5 steps, but observations for 4"),
        (episode()._replace(rewards=torch.zeros(2)), "rewards for 2"),
        (episode()._replace(observations=episode().observations.int()), "those of episode 1 are of torch.int32"),
        (episode()._replace(actions=torch.zeros(5)), r"actions and truths are \(times, features\)"),
        (episode(0), "needs 1 or more"),
    ],
)
def test_episodes_that_do_not_fit_are_refused_and_said_which(tmp_path, second, told):
    with pytest.raises(ValueError, match=told):
        write(tmp_path / "x.parquet", [episode(), second])
    assert not list(tmp_path.iterdir())


def changed(table: pa.Table, how: str) -> pa.Table:
    if how == "column":
        return table.drop_columns(["reward"])
    if how == "order":
        return table.take([1, 0, *range(2, len(table))])
    kind = {"metadata": {}, "shape": {"version": 1, "shape": [9], "dtype": "uint8"}}[how]
    return table.replace_schema_metadata({"ebm.trajectories": json.dumps(kind)})


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("column", "it has no column reward"),
        ("order", "not its steps from 0, in order"),
        ("metadata", "does not say what its observations are"),
        ("shape", r"are not 9 bytes, as \[9\] of uint8 are"),
    ],
)
def test_a_file_of_another_kind_is_refused_and_said_why(tmp_path, how, told):
    write(tmp_path / "x.parquet", [episode()])
    pq.write_table(changed(pq.read_table(tmp_path / "x.parquet"), how), tmp_path / "y.parquet")
    with pytest.raises(ValueError, match=told):
        list(read(tmp_path / "y.parquet"))


def test_a_file_that_is_none_or_half_of_one_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        list(read(tmp_path / "x.parquet"))
    write(tmp_path / "x.parquet", [episode()])
    whole = (tmp_path / "x.parquet").read_bytes()
    for content in (b"", b"a,b\n1,2\n", whole[:-20]):
        (tmp_path / "y.parquet").write_bytes(content)
        with pytest.raises(ValueError, match="not a parquet file, or not all of one"):
            list(read(tmp_path / "y.parquet"))


def test_pieces_cover_all_steps_of_all_episodes_that_are_long_enough_and_cross_none(tmp_path):
    lengths = [7, 3, 2, 11, 4, 6, 3, 3, 3, 5]
    write(tmp_path / "x.parquet", numbered(lengths))
    covered = set()
    for split, held in (("train", range(9)), ("test", [9])):
        pieces = Recorded(str(tmp_path / "x.parquet"), steps=3).load(split)
        seen, actions = pieces[list(range(len(pieces)))]
        assert seen.shape == (len(pieces), 4, 2, 1, 1)
        index, times = seen[..., 0, 0].unbind(-1)
        assert torch.equal(index, index[:, :1].expand_as(index))
        assert torch.equal(times, times[:, :1] + torch.arange(4))
        assert torch.equal(actions[..., 0], times[:, :-1] + 100 * index[:, :-1])
        assert set(index[:, 0].int().tolist()) == {i for i in held if lengths[i] >= 3}
        covered |= set(zip(index.flatten().tolist(), times.flatten().tolist(), strict=True))
    assert covered == {(i, t) for i, steps in enumerate(lengths) if steps >= 3 for t in range(steps + 1)}


def test_frames_before_are_stacked_and_the_first_is_repeated(tmp_path):
    write(tmp_path / "x.parquet", numbered([5] * 10))
    pieces = Recorded(str(tmp_path / "x.parquet"), steps=2, frames=3).load("train")
    seen, _ = pieces[list(range(len(pieces)))]
    assert seen.shape == (len(pieces), 3, 6, 1, 1)
    times = seen.view(len(pieces), 3, 3, 2)[..., 1]  # (pieces, times, frames)
    now = times[..., -1:]
    assert torch.equal(times, (now + torch.tensor([-2.0, -1.0, 0.0])).clamp_min(0))


@pytest.mark.parametrize("world", [TwoRooms(size=8), SMaze(size=8)])
def test_what_a_world_has_made_is_learned_from_as_if_it_were_simulated(tmp_path, world):
    made = simulate(world, Wander(), 10, 6, torch.Generator().manual_seed(0))
    write(tmp_path / "x.parquet", observed(world, made))
    source = Recorded(str(tmp_path / "x.parquet"), steps=6)
    rows, actions = source.load("train")[list(range(9))]
    assert torch.equal(actions, made.actions[:9])
    half = 0.5 / 255 + 1e-6  # rounded to bytes
    torch.testing.assert_close(source.observe(rows), world.observe(made.states[:9]), rtol=0, atol=half)
    situation, later = TrajectoryPairs(source, steps=3, batch_size=4).pieces(rows, actions)
    assert situation.observation.shape == (9, 2, 8, 8)
    assert situation.actions.shape == (9, 3, 2)
    assert later.shape == (9, 3, 2, 8, 8)
    truth = next(read(tmp_path / "x.parquet")).truth["position"]
    assert torch.equal(truth, made.states[0, :, :2])


def test_pieces_are_batches_of_a_data_module(tmp_path):
    write(tmp_path / "x.parquet", numbered([8] * 20))
    data = TrajectoryPairs(Recorded(str(tmp_path / "x.parquet"), steps=4), steps=2, batch_size=3)
    data.setup("fit")
    seen, actions = next(iter(data.train_dataloader()))
    assert (seen.shape, actions.shape) == ((3, 5, 2, 1, 1), (3, 4, 1))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"steps": 9}, "none of the 4 episodes .* is at least 9 steps long"),
        ({"steps": 0}, "steps and frames are at least 1"),
        ({"frames": 0}, "steps and frames are at least 1"),
        ({"held_out": 1.0}, "held_out is a share"),
    ],
)
def test_what_gives_no_pieces_is_refused(tmp_path, settings, told):
    write(tmp_path / "x.parquet", numbered([5] * 4))
    with pytest.raises(ValueError, match=told):
        Recorded(str(tmp_path / "x.parquet"), **settings).load("train")


def test_too_few_episodes_to_hold_one_out_are_refused(tmp_path):
    write(tmp_path / "x.parquet", numbered([5] * 4))
    with pytest.raises(ValueError, match="for test: record more"):
        Recorded(str(tmp_path / "x.parquet"), steps=2).load("test")
