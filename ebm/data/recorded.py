"""Trajectories in a file of an open format, parquet, which pandas, polars and `datasets` read too.

One row is one time of an episode:

| column | what it is |
| --- | --- |
| `episode` | int64, the number of the episode; its rows stand together |
| `step` | int32, from 0 |
| `observation` | the numbers of the observation as bytes, in C order, little endian |
| `action` | list of numbers, what is done then; empty in the last row of an episode |
| `reward` | float64, what doing it was worth; null in the last row |
| `terminated`, `truncated` | bool, whether the episode has come to its own end, or was cut, at this row |
| `truth.NAME` | list of numbers, what a probe may be asked about |

The schema's metadata has, under `ebm.trajectories`, a JSON object: `version`, `shape` and `dtype` of an observation.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from ebm.data.source import Batch, Split
from ebm.data.trajectories import Trajectory
from ebm.worlds.episode import Episode

VERSION = 1
NAME = b"ebm.trajectories"
COLUMNS = ("episode", "step", "observation", "action", "reward", "terminated", "truncated")
ENOUGH = 32 * 2**20  # bytes of episodes that are held before they are written
KINDS = {"uint8": torch.uint8, "float16": torch.float16, "float32": torch.float32, "float64": torch.float64}


def write(path: str | Path, episodes: Iterable[Episode]) -> int:
    """Write episodes as they come, and return how many there were; a file that was there before is replaced at the end.

    No more than some 32 MB, and one episode, are in memory. The file is there only when it is whole: an error leaves
    what was there before, and a KeyboardInterrupt closes the file with the episodes that were whole, and is raised
    again. Raises ValueError for episodes of different kinds, and where there are none.
    """
    writer = _Writer(Path(path))
    try:
        for episode in episodes:
            writer.add(episode)
    except KeyboardInterrupt:
        writer.finish()
        raise
    else:
        if not writer.count:
            raise ValueError(f"there are no episodes to write to {path}")
        writer.finish()
    finally:
        writer.discard()
    return writer.count


def read(path: str | Path) -> Iterator[Episode]:
    """The episodes of a file, one by one, bit for bit as they were written.

    Raises ValueError for a file that is not whole, or of another kind.
    """
    with _opened(Path(path)) as file:
        shape, dtype = _described(file, path)
        rest: pa.Table | None = None
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            table = table if rest is None else pa.concat_tables([rest, table])
            ends = np.flatnonzero(np.diff(table["episode"].to_numpy())) + 1
            for first, last in pairwise([0, *ends.tolist()]):
                yield _episode(table.slice(first, last - first), shape, dtype)
            rest = table.slice(ends[-1] if len(ends) else 0)
        if rest is not None and len(rest):
            yield _episode(rest, shape, dtype)


@final
@dataclass(frozen=True)
class Recorded(Trajectory):
    """Pieces of `steps` steps of the episodes in a file that `write` made, held in memory as they were written.

    Rows are `(steps + 1, channels * frames, ...)`, the last `frames` observations at each time (at an episode's
    beginning the first is repeated); their labels are actions `(steps, actions)`. Pieces follow each other, and the
    last ends where its episode does; shorter episodes are left out. One episode in `1 / held_out` is for testing.
    """

    path: str
    steps: int = 12
    frames: int = 1
    held_out: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.frames < 1:
            raise ValueError(f"steps and frames are at least 1, got steps={self.steps}, frames={self.frames}")
        if not 0 < self.held_out < 1:
            raise ValueError(f"held_out is a share of the episodes, between 0 and 1, got {self.held_out}")

    def load(self, split: Split) -> Dataset[Batch]:
        count, kept = 0, []
        for index, episode in enumerate(read(self.path)):
            count += 1
            tested = math.floor((index + 1) * self.held_out) > math.floor(index * self.held_out)
            if tested == (split == "test") and len(episode.actions) >= self.steps:
                kept.append(episode)
        if not kept:
            raise ValueError(
                f"none of the {count} episodes of {self.path} is at least {self.steps} steps long and for {split}:"
                f" record more, lower steps, or change held_out={self.held_out}"
            )
        return _Pieces(kept, self.steps, self.frames)

    def observe(self, rows: Tensor) -> Tensor:
        return rows.float() / 255 if rows.dtype == torch.uint8 else rows


class _Pieces(Dataset[Batch]):
    """Pieces of episodes, which lie one after another."""

    def __init__(self, episodes: Sequence[Episode], steps: int, frames: int) -> None:
        lengths = [len(episode.observations) for episode in episodes]
        offsets = np.cumsum([0, *lengths[:-1]])
        self.observations = torch.cat([episode.observations for episode in episodes])
        self.actions = torch.cat([functional.pad(episode.actions, (0, 0, 0, 1)) for episode in episodes])
        starts = [[*range(0, length - 1 - steps, steps), length - 1 - steps] for length in lengths]
        self.first = torch.from_numpy(np.repeat(offsets, [len(each) for each in starts]))
        self.start = self.first + torch.tensor([start for each in starts for start in each])
        self.steps, self.frames = steps, frames

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: Sequence[int]) -> Batch:
        start, first = self.start[rows, None], self.first[rows, None, None]
        times = start + torch.arange(self.steps + 1)
        stacked = times[..., None] - torch.arange(self.frames - 1, -1, -1)
        seen = self.observations[torch.maximum(stacked, first)]
        seen = seen.flatten(2, 3) if seen.ndim > 3 else seen.squeeze(2)
        return seen, self.actions[times[:, :-1]]


class _Writer:
    """A file that is written beside its place, and put there when it is whole."""

    def __init__(self, path: Path) -> None:
        self.path, self.part = path, path.with_name(f".{path.name}.{os.getpid()}.part")
        self.file: pq.ParquetWriter | None = None
        self.held: list[pa.Table] = []
        self.count = self.size = 0

    def add(self, episode: Episode) -> None:
        table = _table(self.count, episode)
        if self.file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = pq.ParquetWriter(self.part, table.schema, compression="zstd", use_dictionary=False)
        if not table.schema.equals(self.file.schema, check_metadata=True):
            raise ValueError(
                f"episode {self.count} is of another kind than those before it; it has\n{_told(table.schema)}\nand they"
                f" have\n{_told(self.file.schema)}\na file holds one kind: write the others to another"
            )
        self.held.append(table)
        self.count += 1
        self.size += table.nbytes
        if self.size >= ENOUGH:
            self._flush()

    def finish(self) -> None:
        if self.file is not None:
            self._flush()
            self.file.close()
            os.replace(self.part, self.path)

    def discard(self) -> None:
        if self.file is not None:
            self.file.close()
        self.part.unlink(missing_ok=True)

    def _flush(self) -> None:
        assert self.file is not None
        if self.held:
            self.file.write_table(pa.concat_tables(self.held))
            self.held, self.size = [], 0


def _table(index: int, episode: Episode) -> pa.Table:
    _check(index, episode)
    seen = episode.observations
    times = len(seen)
    last = np.arange(times) == times - 1
    rewards = functional.pad(episode.rewards.double(), (0, 1)).numpy()
    columns = {
        "episode": pa.array(np.full(times, index, np.int64)),
        "step": pa.array(np.arange(times, dtype=np.int32)),
        "observation": _bytes(seen),
        "action": _lists(episode.actions, times),
        "reward": pa.array(rewards, mask=last),
        "terminated": pa.array(last & episode.terminated),
        "truncated": pa.array(last & (not episode.terminated)),
        **{f"truth.{name}": _lists(value, times) for name, value in episode.truth.items()},
    }
    kind = {"version": VERSION, "shape": list(seen.shape[1:]), "dtype": str(seen.dtype).removeprefix("torch.")}
    return pa.table(columns).replace_schema_metadata({NAME: json.dumps(kind)})


def _check(index: int, episode: Episode) -> None:
    steps, seen = len(episode.actions), episode.observations
    if seen.dtype not in KINDS.values():
        raise ValueError(f"observations are of {', '.join(KINDS)}, those of episode {index} are of {seen.dtype}")
    lengths = {"observations": len(seen) - 1, "rewards": len(episode.rewards)}
    lengths |= {f"truth {name!r}": len(value) - 1 for name, value in episode.truth.items()}
    wrong = [f"{name} for {length}" for name, length in lengths.items() if length != steps]
    if wrong or steps < 1:
        raise ValueError(f"episode {index} has actions for {steps} steps, but {', '.join(wrong) or 'needs 1 or more'}")
    if any(value.ndim != 2 for value in (episode.actions, *episode.truth.values())):
        raise ValueError(f"actions and truths are (times, features), those of episode {index} are not")


def _bytes(seen: Tensor) -> pa.Array:
    flat = seen.contiguous().reshape(len(seen), -1).numpy().view(np.uint8)
    offsets = np.arange(len(flat) + 1, dtype=np.int64) * flat.shape[1]
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(flat)]
    return pa.Array.from_buffers(pa.large_binary(), len(flat), buffers)


def _lists(values: Tensor, times: int) -> pa.Array:
    """One list a row of `values`, and empty ones to as many as there are times."""
    offsets = np.minimum(np.arange(times + 1), len(values)) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values.contiguous().numpy().ravel()))


def _opened(path: Path) -> pq.ParquetFile:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: make it with ebm.data.recorded.write")
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path} is not a parquet file, or not all of one: {error}") from error


def _described(file: pq.ParquetFile, path: str | Path) -> tuple[list[int], str]:
    """Shape and dtype of an observation."""
    missing = [name for name in COLUMNS if name not in file.schema_arrow.names]
    kind = json.loads((file.schema_arrow.metadata or {}).get(NAME, b"{}"))
    if missing:
        raise ValueError(f"{path} holds no trajectories: it has no column {', '.join(missing)}")
    if kind.get("version") != VERSION or kind.get("dtype") not in KINDS:
        raise ValueError(
            f"{path} does not say what its observations are: its metadata 'ebm.trajectories' should be version"
            f" {VERSION}, shape and dtype, got {kind}"
        )
    return kind["shape"], kind["dtype"]


def _episode(table: pa.Table, shape: list[int], dtype: str) -> Episode:
    number, times = table["episode"][0].as_py(), len(table)
    if not np.array_equal(table["step"].to_numpy(), np.arange(times)) or times < 2:
        raise ValueError(f"the rows of episode {number} are not its steps from 0, in order: the file was changed")
    raw = _joined(table["observation"].cast(pa.large_binary()))
    offsets = np.frombuffer(raw.buffers()[1], np.int64)[raw.offset : raw.offset + times + 1]
    width = math.prod(shape) * KINDS[dtype].itemsize
    if (np.diff(offsets) != width).any():
        raise ValueError(f"observations of episode {number} are not {width} bytes, as {shape} of {dtype} are")
    data = np.frombuffer(raw.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    seen = torch.from_numpy(data.view(dtype).reshape(times, *shape).copy())
    rewards = torch.from_numpy(table["reward"].to_numpy()[:-1].astype(np.float64))
    truth = {name.removeprefix("truth."): _rows(table[name], times) for name in table.column_names if "truth." in name}
    return Episode(seen, _rows(table["action"], times - 1), rewards, table["terminated"][-1].as_py(), truth)


def _rows(column: pa.ChunkedArray, count: int) -> Tensor:
    values = _joined(column).flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(values.reshape(count, len(values) // count).copy())


def _joined(column: pa.ChunkedArray) -> pa.Array:
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.concat_arrays(joined.chunks)


def _told(schema: pa.Schema) -> str:
    return f"{schema.metadata[NAME].decode()} {', '.join(schema.names)}"
