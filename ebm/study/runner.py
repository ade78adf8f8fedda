"""Run all runs of a study, several side by side, and stop and go on at any time."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_limits

from ebm.callbacks import Stopped
from ebm.study.configuration import Run
from ebm.study.program import context, end_with_parent
from ebm.study.store import RunFolder
from ebm.study.sweep import Study
from ebm.study.training import train


class Outcome(NamedTuple):
    """How many runs of a study are finished, and what went wrong with others."""

    finished: int
    failures: dict[str, str]
    stopped: bool


def run_study(study: Study, results: Path, workers: int, console: Console) -> Outcome:
    """Do every run that is not finished, `workers` at a time; a first Ctrl-C saves and stops, a second kills.

    A run that fails costs the others nothing. Raises OSError if the results folder cannot be written.
    """
    check_writable(results)
    todo = [run for run in study.runs if run.folder(results).state() != "finished"]
    done = len(study.runs) - len(todo)
    console.print(f"{study.name}: {len(study.runs)} runs, {done} finished before, {workers} at a time, in {results}")
    if not todo:
        return Outcome(done, {}, False)
    with _display(console) as bars:
        board = _Board(bars, study, done)
        while todo:
            since = time.time()
            _run_in_pool(todo, results, workers, board)
            todo = board.again(results, since)
        return board.outcome()


def _run_in_pool(todo: Sequence[Run], results: Path, workers: int, board: _Board) -> None:
    processes = context()
    news, stop = processes.Queue(), processes.Event()
    threads = max(1, (os.cpu_count() or 1) // workers)
    with ProcessPoolExecutor(min(workers, len(todo)), processes, _start_worker, (news, stop, threads)) as pool:
        futures = {pool.submit(_work, run, results, board.study.name): run for run in todo}
        try:
            _follow(futures, news, board)
        except KeyboardInterrupt:
            board.stop()
            stop.set()
            for future in futures:
                future.cancel()
            _wait_or_kill(pool, futures)


class _Board:
    """What has become of the runs, and what the user sees: a bar over all, and one for each under way."""

    def __init__(self, bars: Progress, study: Study, done: int) -> None:
        self.bars, self.study, self.finished, self.stopped = bars, study, done, False
        self.failures: dict[str, str] = {}
        self.all = bars.add_task(study.name, total=len(study.runs), completed=done)
        self.running: dict[str, TaskID] = {}
        self.lost: list[Run] = []
        self.losses: Counter[Run] = Counter()

    def step(self, label: str, step: int, steps: int) -> None:
        """A run has come this far."""
        if label not in self.running:
            self.running[label] = self.bars.add_task(f"  {label}", total=steps)
        self.bars.update(self.running[label], completed=step, total=steps)

    def end(self, run: Run, folder: Path, error: BaseException | None) -> None:
        """A run is over."""
        label = _label(run)
        if label in self.running:
            self.bars.remove_task(self.running.pop(label))
        if isinstance(error, BrokenProcessPool):
            self.lost.append(run)
        elif error is None:
            self.finished += 1
            self._say(label, run.folder(folder).result())
        elif not isinstance(error, Stopped):
            self._fail(run, _reason(error))
        self.bars.update(self.all, completed=self.finished)

    def stop(self) -> None:
        """The user has asked to stop."""
        self.stopped = True
        self.bars.console.print("Stopping: each run saves where it is. Ctrl-C again to stop at once.")

    def again(self, results: Path, since: float) -> list[Run]:
        """Runs to try again after a process was killed, which takes all others down with it.

        Those that had not begun, and those that had for the first time: the killed one is among them.
        """
        lost, self.lost = self.lost, []
        began = [run for run in lost if _began(run.folder(results), since)]
        self.losses.update(began)
        failed = [run for run in lost if self.losses[run] > 1] if began else lost
        for run in failed:
            self._fail(run, "its process was killed, perhaps for want of memory; give the command again to go on")
        return [] if self.stopped else [run for run in lost if run not in failed]

    def outcome(self) -> Outcome:
        """What has come of it so far."""
        return Outcome(self.finished, self.failures, self.stopped)

    def _fail(self, run: Run, reason: str) -> None:
        self.failures[_label(run)] = reason
        self.bars.console.print(f"FAILED {_label(run)}: {reason}", markup=False)

    def _say(self, label: str, result: dict[str, Any]) -> None:
        value = result["metrics"].get(self.study.metric)
        shown = f"{self.study.metric} {value:.3f}, " if value is not None else ""
        count = f"[{self.finished}/{len(self.study.runs)}]"
        self.bars.console.print(f"{count} {label}: {shown}{result['seconds']:.1f} s", markup=False)


def _follow(futures: dict[Future[Path], Run], news: Any, board: _Board) -> None:
    waiting = set(futures)
    while waiting:
        ended, waiting = wait(waiting, timeout=0.1, return_when=FIRST_COMPLETED)
        with contextlib.suppress(queue.Empty):
            while True:
                board.step(*news.get_nowait())
        for future in ended:
            error = future.exception()
            board.end(futures[future], future.result() if error is None else Path(), error)


def _began(folder: RunFolder, since: float) -> bool:
    return folder.config.exists() and folder.config.stat().st_mtime >= since - 1  # what file systems round to


def _reason(error: BaseException) -> str:
    if isinstance(error, Timeout):
        return "another process is training it"
    return f"{type(error).__name__}: {error}"


def _wait_or_kill(pool: ProcessPoolExecutor, futures: dict[Future[Path], Run]) -> None:
    try:
        wait(futures)
    except KeyboardInterrupt:
        for process in list((pool._processes or {}).values()):
            process.kill()


def _display(console: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True)


_news: Any = None
_stop: Any = None


def _start_worker(news: Any, stop: Any, threads: int) -> None:
    global _news, _stop
    _news, _stop = news, stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that shows the bars; it sets `stop`
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    end_with_parent()


def _work(run: Run, results: Path, group: str) -> Path:
    label = _label(run)

    def report(step: int, steps: int) -> None:
        if step % max(1, steps // 100) == 0:
            _news.put((label, step, steps))

    if _stop.is_set():
        raise Stopped
    train(run, run.folder(results), group, report, _stop.is_set)
    return results


def _label(run: Run) -> str:
    return f"{run.arm}, seed {run.seed}"


def check_writable(results: Path) -> None:
    """Raise OSError, before any work is done, if nothing could be kept."""
    probe = results / f".writable.{os.getpid()}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"the results folder {results} cannot be written ({error.strerror}): give another with --results, or change"
            " its permissions"
        ) from error
