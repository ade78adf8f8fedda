"""Runs a function on several processes that form a group over gloo, on this machine alone."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


def on_processes(world: int, fn: Callable[..., Any], *args: Any) -> list[Any]:
    """What `fn(*args)` returns on each of `world` processes, in order of rank. It has to be found by its name."""
    with tempfile.TemporaryDirectory() as folder, _pool(world) as pool:
        meeting = Path(folder) / "meeting"
        jobs = [pool.submit(_join, meeting, rank, world, fn, args) for rank in range(world)]
        return [job.result(timeout=120) for job in jobs]


def _pool(world: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(world, mp_context=multiprocessing.get_context("spawn"))


def _join(meeting: Path, rank: int, world: int, fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    try:
        return fn(*args)
    finally:
        dist.destroy_process_group()
