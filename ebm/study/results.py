"""What the runs of a study left behind, in tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import torch

from ebm.meters import singular_values
from ebm.study.configuration import Run
from ebm.study.store import RunFolder
from ebm.study.sweep import Study

Array = np.ndarray[Any, Any]
KINDS = ("code", "representation")


@final
@dataclass(frozen=True)
class Unfinished:
    """A run without a result: its state, and why it failed if it did."""

    arm: str
    seed: int
    folder: str
    state: str
    reason: str


@final
@dataclass(frozen=True)
class Results:
    """The finished runs of a study, and a word on the others.

    `table` one row a run: arm, seed, folder, seconds, steps, and every metric. `history` one row a number: arm, seed,
    step, metric, value. `spectra` one row a direction: arm, seed, kind, index from 1, and as value the singular value
    of the centred held-out codes over `sqrt(N)`, which is the standard deviation along it. `codes` arrays `code`,
    `representation` and `label` of each arm's first seed, if it has probes. `versions` and `machines` one row a run.
    """

    table: pd.DataFrame
    history: pd.DataFrame
    spectra: pd.DataFrame
    codes: dict[str, dict[str, Array]]
    versions: pd.DataFrame
    machines: pd.DataFrame
    unfinished: tuple[Unfinished, ...]

    @property
    def arms(self) -> list[str]:
        """Arms with a finished run, in the order of the study."""
        return list(dict.fromkeys(self.table["arm"]))

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics, in the order in which runs report them."""
        return [name for name in map(str, self.table) if "/" in name]

    def seeds_of(self, arm: str) -> list[int]:
        """Seeds of an arm that are finished, in the order of the study."""
        return list(self.table.loc[self.table["arm"] == arm, "seed"])

    @property
    def mixed(self) -> dict[str, list[str]]:
        """Versions and parts of the machine in which the runs differ, with what they were."""
        found = distinct(self.versions) | distinct(self.machines)
        return {name: values for name, values in found.items() if len(values) > 1}


def distinct(table: pd.DataFrame) -> dict[str, list[str]]:
    """What stands in each column, each value once."""
    return {name: list(dict.fromkeys(table[name])) for name in map(str, table)}


def collect(study: Study, results: Path) -> Results:
    """Read the folders of a study's runs. Raises ValueError if none is finished."""
    _check_distinct(study.runs)
    folders = [(run, run.folder(results)) for run in dict.fromkeys(study.runs)]
    states = [folder.state() for _, folder in folders]
    finished = [pair for pair, state in zip(folders, states, strict=True) if state == "finished"]
    unfinished = [_unfinished(*pair, state) for pair, state in zip(folders, states, strict=True) if state != "finished"]
    if not finished:
        raise ValueError(_nothing(study, results, unfinished))
    loaded = [folder.result() for _, folder in finished]
    return Results(
        table=pd.DataFrame([_row(*pair, result) for pair, result in zip(finished, loaded, strict=True)]),
        history=pd.concat([_long(run, folder.history()) for run, folder in finished], ignore_index=True),
        spectra=pd.concat([_spectra(run, folder.codes()) for run, folder in finished], ignore_index=True),
        # The first seed comes last, and stays.
        codes={run.arm: codes for run, folder in reversed(finished) if (codes := folder.codes())},
        versions=pd.DataFrame([result["versions"] for result in loaded]).fillna("not recorded"),
        machines=pd.DataFrame([result["machine"] for result in loaded]).fillna("not recorded"),
        unfinished=tuple(unfinished),
    )


def _check_distinct(runs: Sequence[Run]) -> None:
    found: dict[tuple[str, int], str] = {}
    for run in runs:
        if found.setdefault((run.arm, run.seed), run.config) != run.config:
            raise ValueError(
                f"two different runs of the study are both called {run.arm!r}, seed {run.seed}, so that seeds could not"
                " be paired: give every arm a file with a `name` of its own"
            )


def _nothing(study: Study, results: Path, unfinished: Sequence[Unfinished]) -> str:
    failed = [run for run in unfinished if run.state == "failed"]
    why = (
        f"; {len(failed)} failed, the first, {failed[0].arm}, seed {failed[0].seed}: {failed[0].reason}"
        if failed
        else ""
    )
    return (
        f"none of the {len(unfinished)} runs of the study {study.name} is finished in {results}{why}. There is nothing"
        f" to report yet: `ebm study run {study.path}` trains them, and --results says where they are kept"
    )


def _unfinished(run: Run, folder: RunFolder, state: str) -> Unfinished:
    reason = folder.failure.read_text().strip() if state == "failed" else ""
    return Unfinished(run.arm, run.seed, folder.path.name, state, reason)


def _row(run: Run, folder: RunFolder, result: dict[str, Any]) -> dict[str, Any]:
    metrics = {name: np.nan if value is None else float(value) for name, value in result["metrics"].items()}
    facts = {"seconds": result["seconds"], "steps": result["steps"]}
    return {"arm": run.arm, "seed": run.seed, "folder": folder.path.name, **facts, **metrics}


def _long(run: Run, history: pd.DataFrame) -> pd.DataFrame:
    """The curves of a run, one row a number."""
    if history.empty:
        return pd.DataFrame({"arm": [], "seed": [], "step": [], "metric": [], "value": []})
    long = history.drop(columns="epoch", errors="ignore").melt("step", var_name="metric").dropna()
    return long.assign(arm=run.arm, seed=run.seed)


def _spectra(run: Run, codes: dict[str, Array]) -> pd.DataFrame:
    parts = [pd.DataFrame({"kind": [], "index": [], "value": []})]
    for kind in KINDS if codes else ():
        array = torch.from_numpy(codes[kind]).flatten(1)
        values = singular_values(array).numpy() / len(array) ** 0.5 if array.isfinite().all() else np.empty(0)
        parts.append(pd.DataFrame({"kind": kind, "index": np.arange(1, len(values) + 1), "value": values}))
    return pd.concat(parts).assign(arm=run.arm, seed=run.seed)
