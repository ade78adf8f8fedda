"""Which term prevents what: parts of four methods switched off, and the linear theory of dimensional collapse.

    python benchmarks/terms.py --results results    # what is missing of the studies in results/, then the page
    python benchmarks/terms.py --quick              # to see that it runs; nothing is written

The runs are those of `ebm study run benchmarks/studies/terms/METHOD.yaml` and `.../linear_dynamics.yaml`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from reporting import made_by, summary, write_page
from rich.console import Console
from study_page import STUDIES, options_of_runs
from terms_figure import draw
from terms_text import DYNAMICS, METRICS, answers, collapsed, how, theory

from ebm.study.configuration import Run
from ebm.study.runner import run_study
from ebm.study.sweep import Study, load_study

Part = Callable[[Mapping[str, Any]], object]


def _named(value: Mapping[str, Any]) -> str:
    """What a part of a configuration is, in words: the class, and for how late a target follows."""
    name = value["class_path"].rpartition(".")[2]
    words = {"SharedBranch": "learns too", "StopGradient": "stop-gradient", "Identity": "none", "MLP": "yes"}
    return words.get(name) or f"average, {value['init_args']['base']:g}"


def _norm(value: Mapping[str, Any]) -> str:
    if not value["class_path"].endswith("MLP"):
        return "-"
    return "yes" if value["init_args"]["norm"] else "no"


def _of_energy(name: str) -> Part:
    return lambda model: _named(model["energy"]["init_args"][name])


def _norm_of(name: str) -> Part:
    return lambda model: _norm(model["energy"]["init_args"][name])


def _weight(name: str) -> Part:
    return lambda model: f"{(model['losses'] | model['regularizers'])[name]['weight']:g}"


PREDICTIVE: dict[str, Part] = {"target": _of_energy("target"), "predictor": _of_energy("predictor")}
NORMS: dict[str, Part] = {"norm of projector": _norm_of("projector"), "norm of predictor": _norm_of("predictor")}
# Which columns tell the arms of a method apart.
METHODS: dict[str, dict[str, Part]] = {
    "VICReg": {name: _weight(name) for name in ("invariance", "variance", "covariance")},
    "SimSiam": PREDICTIVE | NORMS,
    "BYOL": PREDICTIVE,
    "Barlow Twins": {
        "redundancy": lambda model: f"{model['regularizers']['cross_correlation']['fn']['init_args']['redundancy']:g}",
        "width": lambda model: str(model["energy"]["init_args"]["projector"]["init_args"]["widths"][-1]),
    },
}


def ablations(files: str = "*", extra: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Study:
    """The runs of all methods as one study, each once."""
    studies = [load_study(path, extra, seeds) for path in sorted((STUDIES / "terms").glob(f"{files}.yaml"))]
    runs = {run.id: run for study in studies for run in study.runs}
    return replace(studies[0], name="terms", runs=tuple(runs.values()))


def rows(study: Study, results: Path) -> pd.DataFrame:
    """One row a finished run: its method, the parts that its method has, and the metrics."""
    found = []
    for run in study.runs:
        folder = run.folder(results)
        if folder.state() == "finished":
            metrics = folder.result()["metrics"]
            parts, method = _parts(run)
            found.append(
                {"method": method, "arm": ", ".join(f"{k} {v}" for k, v in parts.items()), "seed": run.seed}
                | parts
                | {name: metrics[name] for name in METRICS}
            )
    return pd.DataFrame(found)


def _parts(run: Run) -> tuple[dict[str, object], str]:
    method = next(name for name in METHODS if run.arm.startswith(name))
    model = yaml.safe_load(run.config)["model"]
    return {name: part(model) for name, part in METHODS[method].items()}, method


def dynamics(study: Study, results: Path) -> pd.DataFrame:
    """One row a finished run of the linear networks."""
    found = []
    for run in study.runs:
        folder = run.folder(results)
        if folder.state() == "finished":
            asked = yaml.safe_load(run.config)["options"]
            found.append({**asked, "seed": run.seed, **folder.result()["metrics"]})
    return pd.DataFrame(found)


def write(tables: tuple[pd.DataFrame, pd.DataFrame], missing: int, out: Path | None, command: str, steps: int) -> str:
    """The page, the rows and the picture where that is wanted; returns what to print."""
    table, linear = tables
    text = [
        f"## {method}\n\n" + "\n".join(summary(part, list(METHODS[str(method)]), METRICS))
        for method, part in table.groupby("method", sort=False)
    ]
    text.append("## Two layers, linear\n\n" + theory(linear))
    text.append("\n".join(summary(linear, ["layers", "amplitude"], DYNAMICS)))
    draw(table, None if out is None else out / "terms.png", steps)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        table.to_csv(out / "terms.csv", index=False, float_format="%.6g")
        linear.to_csv(out / "linear_dynamics.csv", index=False, float_format="%.6g")
        left_out = [f"**{missing} runs of the studies are not finished and not in here.**"] if missing else []
        lines = [
            *left_out,
            *how(table),
            *answers(table),
            "\n".join(collapsed(table)),
            *text,
            *made_by(command, ("torch", "scipy")),
        ]
        write_page(out / "terms.md", "Which term prevents what", lines)
    return "\n\n".join([*collapsed(table), *text])


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the command that gave them."""
    parser = options_of_runs(__doc__)
    options = parser.parse_args(arguments)
    options.command = shlex.join(["python", "benchmarks/terms.py", *(sys.argv[1:] if arguments is None else arguments)])
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is missing, and write."""
    options = parsed(arguments)
    torch.set_num_threads(1)
    if options.quick:
        with tempfile.TemporaryDirectory() as folder:
            some = ablations("simsiam_norm", ["--trainer.max_steps=2"], [0])
            linear = load_study(STUDIES / "linear_dynamics.yaml", ["--steps=40"], [0])
            studies = some, replace(linear, runs=linear.runs[::3])
            print(finish(studies, Path(folder), None, options, 40))
        return
    print(finish((ablations(), load_study(STUDIES / "linear_dynamics.yaml")), options.results, options.out, options))


def finish(
    studies: tuple[Study, Study], results: Path, out: Path | None, options: argparse.Namespace, steps: int = 1500
) -> str:
    """Run what is missing unless told not to, and write."""
    for study in () if options.as_it_stands else studies:
        run_study(study, results, options.workers, Console())
    tables = rows(studies[0], results), dynamics(studies[1], results)
    missing = sum(len(study.runs) for study in studies) - sum(map(len, tables))
    return write(tables, missing, out, options.command, steps)


if __name__ == "__main__":
    main()
