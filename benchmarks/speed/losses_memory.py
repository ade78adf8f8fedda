"""How far above what there was before it a call takes the memory of the device, or of a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from losses_catalogue import TABLES, codes, step
from losses_peers import Loss

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Memory:
    """Measures calls on one device and dtype; on a CPU by the process that it keeps for that."""

    def __init__(self, device: str, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Memory:
        if self.device == "cpu" and CLEAR.exists():
            # Large blocks by themselves, which are given back when freed: what is kept for later would hide a peak.
            os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
            self.pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        return self

    def __exit__(self, *exception: object) -> None:
        if self.pool is not None:
            self.pool.shutdown()

    def extra(self, table: str, method: str, shape: tuple[int, int], loss: Loss) -> float | None:
        """MiB above what there was before a forward and a backward call; None where it cannot be told."""
        if self.device == "cpu":
            return None if self.pool is None else self.pool.submit(_resident, table, method, shape, self.dtype).result()
        x, y = codes(shape, self.device, self.dtype)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(loss, x, y)
        return (torch.cuda.max_memory_allocated() - before) / 2**20


def _resident(table: str, method: str, shape: tuple[int, int], dtype: torch.dtype) -> float:
    torch.set_num_threads(1)
    step(TABLES[table][method](), *codes((32, 64), "cpu", dtype))  # what is loaded at a first call is not of this one
    loss = TABLES[table][method]()
    x, y = codes(shape, "cpu", dtype)
    CLEAR.write_text("5")  # the highest is from now on
    before = _status("VmRSS")
    step(loss, x, y)
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    assert found, f"{STATUS} has no {name}"
    return int(found[1])
