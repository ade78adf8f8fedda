"""The clock of `losses.py`."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

REPEATS = 10  # calls between two events, so that what it takes to launch them is not what is timed


def seconds(call: Callable[[], object], device: str) -> float:
    """Of CPU time of this process, which other processes do not lengthen; on CUDA, between two events."""
    if device == "cpu":
        began = time.process_time()
        call()
        return time.process_time() - began
    before, after = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    before.record()
    for _ in range(REPEATS):
        call()
    after.record()
    torch.cuda.synchronize()
    return before.elapsed_time(after) / 1e3 / REPEATS
