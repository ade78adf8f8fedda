"""What the commands of `ebm` do."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from filelock import Timeout
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from ebm.callbacks import Stopped
from ebm.study.configuration import ConfigError, resolve
from ebm.study.report import write_report
from ebm.study.runner import check_writable, run_study
from ebm.study.sweep import Study, load_study
from ebm.study.training import train


def fit(arguments: Sequence[str]) -> int:
    """Train one run, from where it stands."""
    asked, results = resolve(arguments)
    check_writable(results)
    folder, console = asked.folder(results), Console()
    if folder.state() == "finished":
        console.print(f"{asked.arm}, seed {asked.seed}: finished before, in {folder.path}", markup=False)
        return 0
    try:
        with Progress(console=console, transient=True) as bars, _stop_on_interrupt(console) as stop:
            bar = bars.add_task(f"{asked.arm}, seed {asked.seed}")
            train(asked, folder, "fit", lambda step, steps: bars.update(bar, completed=step, total=steps), stop)
    except Stopped as stopped:
        console.print(f"{stopped}; the same command goes on from there")
        return 130
    except Timeout:
        raise ConfigError(f"another process is training this run in {folder.path}") from None
    except Exception as error:  # whatever a user's own class may raise; the folder has all of it
        reason = f"failed: {type(error).__name__}: {error} (traceback in {folder.failure})"
        Console(stderr=True).print(reason, style="red", markup=False, soft_wrap=True)
        return 1
    for name, value in sorted(folder.result()["metrics"].items()):
        console.print(f"{name:32} {value:.4g}", markup=False)
    console.print(f"kept in {folder.path}", markup=False)
    return 0


def study(options: argparse.Namespace, overrides: Sequence[str]) -> int:
    """One of the commands below, on the study that the options name."""
    actions = {"run": run, "status": status, "report": report}
    return actions[options.command](options, load_study(options.study, overrides, options.seeds))


def run(options: argparse.Namespace, study: Study) -> int:
    """Train all runs of a study that are not finished."""
    start = time.monotonic()
    outcome = run_study(study, options.results, options.workers, Console())
    taken = f"{time.monotonic() - start:.0f} s"
    Console().print(f"{outcome.finished} of {len(study.runs)} runs are finished, after {taken}", markup=False)
    for label, reason in outcome.failures.items():
        Console(stderr=True).print(f"failed: {label}: {reason}", style="red", markup=False, soft_wrap=True)
    if outcome.stopped:
        return 130
    return 1 if outcome.failures else 0


def status(options: argparse.Namespace, study: Study) -> int:
    """Say which runs of a study are finished, running, stopped, failed or waiting."""
    table = Table("arm", "seed", "state", study.metric, "folder", title=study.question)
    for run in study.runs:
        folder = run.folder(options.results)
        state = folder.state()
        value = folder.result()["metrics"].get(study.metric) if state == "finished" else None
        table.add_row(run.arm, str(run.seed), state, "" if value is None else f"{value:.4f}", str(folder.path))
    Console().print(table)
    return 0


def report(options: argparse.Namespace, study: Study) -> int:
    """Write the report of a study, and say where it is."""
    out = options.out or options.results / f"{study.name}.html"
    path = write_report(study, options.results, out, _commands(options))
    Console().print(f"table:  {path.with_suffix('.csv')}\nreport: {path}", markup=False, soft_wrap=True)
    return 0


def _commands(options: argparse.Namespace) -> str:
    """What makes the runs of a report, and the report."""
    words = ["ebm", *sys.argv[1:]]
    if options.out is not None:  # which a run does not have
        i = next(i for i, word in enumerate(words) if word.startswith("--out"))
        kept = words[:i] + words[i + (1 if "=" in words[i] else 2) :]
    else:
        kept = words
    return f"{shlex.join(['run' if word == 'report' else word for word in kept])}\n{shlex.join(words)}"


@contextmanager
def _stop_on_interrupt(console: Console) -> Iterator[Callable[[], bool]]:
    """A question whether Ctrl-C was pressed; when pressed a second time it raises KeyboardInterrupt as usual."""
    pressed: list[int] = []

    def note(number: int, _: object) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)
        console.print("Stopping: saving where the run is. Ctrl-C again to stop at once.")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
