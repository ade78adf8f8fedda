"""Runs that are calls of a program: what it prints last is what came of it."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import runpy
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
import yaml
from threadpoolctl import threadpool_limits

from ebm.callbacks import Stopped
from ebm.study import tracking
from ebm.study.configuration import Run
from ebm.study.machine import machine, versions
from ebm.study.store import RunFolder

TAIL = 2000  # characters of what a program said that are told when it fails


def publish(numbers: Mapping[str, float]) -> None:
    """Print a program's numbers as its last line, where `ebm study run` looks for them; log them to W&B's agent.

    Names have a slash, such as `power/spiral`; NaN says that there is no number.
    """
    if "WANDB_SWEEP_ID" in os.environ:
        _log(dict(numbers), "program", "program", Path.cwd(), {})
    print(json.dumps(dict(numbers)), flush=True)


def perform(run: Run, folder: RunFolder, group: str, stop: Callable[[], bool]) -> None:
    """Call the program of `run` in a process of its own, and keep its numbers in `folder`.

    Raises Stopped, after ending it, if `stop` says to: it begins again the next time. Raises RuntimeError with the end
    of what it said if it fails, and ValueError unless its last line is a JSON object of numbers.
    """
    asked = yaml.safe_load(run.config)
    said = folder.path / "output.txt"
    start = time.monotonic()
    process: BaseProcess = context().Process(  # type: ignore[attr-defined]
        target=_call, args=(asked["root"], asked["program"], _words(asked), said.resolve(), torch.get_num_threads())
    )
    process.start()
    try:
        _await(process, stop)
    finally:
        process.kill()
        process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"{asked['program']} ended with code {process.exitcode}: {said.read_text()[-TAIL:]}")
    metrics = numbers(said.read_text(), asked["program"])
    facts = {"versions": versions(), "machine": machine(), "steps": 0}
    _log(metrics, run.id, group, folder.path, asked, f"{run.arm}-{run.seed}")
    seconds = time.monotonic() - start
    folder.write_result({"arm": run.arm, "seed": run.seed, "metrics": metrics, "seconds": seconds, **facts}, {})


def numbers(said: str, program: str) -> dict[str, float]:
    """The numbers of the last line of what a program said."""
    last = said.strip().rpartition("\n")[2]
    try:
        found = json.loads(last)
    except json.JSONDecodeError:
        found = None
    good = isinstance(found, dict) and all(type(value) in (int, float) for value in found.values())
    if not good or not all("/" in name for name in found):
        raise ValueError(
            f"the last line that {program} prints should be a JSON object of numbers under names with a slash, such as"
            f' {{"power/spiral": 0.9}}, got {last[-200:]!r}: print it by `ebm.study.program.publish`'
        )
    return {name: float(value) for name, value in found.items()}


def context() -> BaseContext:
    """Processes that are forked from one that has imported everything, once, where the system can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["ebm.study.training"])
    return forking


def end_with_parent() -> None:
    """Let this process end when the one that started it does, however that happens."""
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _words(asked: Mapping[str, Any]) -> list[str]:
    options = [f"--{name}={value}" for name, value in asked["options"].items()]
    return [*asked["arguments"], *options, f"--seed={asked['seed']}", *asked["extra"]]


def _await(process: BaseProcess, stop: Callable[[], bool]) -> None:
    while process.is_alive():
        process.join(0.1)
        if stop():
            raise Stopped


def _call(root: str, program: str, words: list[str], said: Path, threads: int) -> None:
    """In the new process: what `python program words` does in the folder `root`, its output to the file `said`."""
    end_with_parent()
    os.chdir(root)
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    sys.argv, sys.path[0] = [program, *words], str(Path(program).parent)
    with said.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            runpy.run_path(program, run_name="__main__")
        except Exception:
            traceback.print_exc(file=file)
            file.flush()
            os._exit(1)


def _log(
    metrics: dict[str, float], run: str, group: str, folder: Path, config: Mapping[str, Any], name: str = "program"
) -> None:
    if online := tracking.tracker(run, name, group, folder, config):
        online.log_metrics(metrics)
        tracking.finish()
