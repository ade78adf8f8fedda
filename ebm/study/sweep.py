"""A study file: a W&B sweep whose description is the question and whose first arm is the control."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, final

import yaml

from ebm.study.configuration import ConfigError, Run, resolve

# The keys of a W&B sweep configuration.
KEYS = (
    *("name", "description", "project", "entity", "program", "method", "metric", "metrics", "parameters", "command"),
    *("early_terminate", "run_cap", "controller", "scheduler", "job", "image_uri", "kind", "apiVersion"),
)


@final
@dataclass(frozen=True)
class Study:
    """A question, and the runs that are to answer it."""

    path: Path
    name: str
    question: str
    metric: str
    goal: str
    runs: tuple[Run, ...]

    @cached_property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, in the order of the file; the first is the control."""
        return tuple(dict.fromkeys(run.arm for run in self.runs))


def load_study(path: Path | str, extra: Sequence[str] = (), seeds: Sequence[int] | None = None) -> Study:
    """Read a study file and resolve all of its runs, each with the `extra` options of its command after its own.

    `seeds` take the place of the file's.
    Raises ConfigError for a key, a file, an option or a class that is not there, before any work starts.
    """
    path = Path(path)
    sweep = _read(path)
    _check_extra(extra)
    first = _first_run(path, sweep)
    parameters = _values(path, sweep)
    seeds = seeds or parameters.pop("seed", [0])
    parameters.pop("seed", None)
    runs = []
    for values in itertools.product(*parameters.values()):
        run = first(dict(zip(parameters, values, strict=True)), extra)
        arm = ", ".join(filter(None, [run.arm, *_varied(parameters, values)])) or path.stem
        runs += [replace(run, arm=arm).with_seed(seed) for seed in seeds]
    _check_distinct(path, runs)
    metric = sweep.get("metric") or {}
    if not isinstance(metric, dict):
        raise ConfigError(f"the metric of the study {path} should be {{name: ..., goal: maximize}}, got {metric!r}")
    return Study(
        path=path,
        name=sweep.get("name", path.stem),
        question=sweep.get("description", ""),
        metric=metric.get("name", "probe/linear"),
        goal=metric.get("goal", "maximize"),
        runs=tuple(runs),
    )


def _check_extra(extra: Sequence[str]) -> None:
    """Refuse options that a study sets itself, which would make its runs the same or hide them."""
    for option in extra:
        if option.partition("=")[0] in ("--seed", "--name", "--results", "--config"):
            raise ConfigError(
                f"{option} after -- is for the study to set: give --seeds or --results before it, or change its file"
            )


def _check_distinct(path: Path, runs: Sequence[Run]) -> None:
    for what, names in (("run", [run.id for run in runs]), ("arm and seed", [(run.arm, run.seed) for run in runs])):
        for name, count in Counter(names).items():
            if count > 1:
                raise ConfigError(
                    f"the study {path} has the {what} {name} {count} times: give each arm a `name` of its own"
                )


def _varied(parameters: Mapping[str, list[Any]], values: Sequence[Any]) -> list[str]:
    """What tells apart two runs that are of one arm file and seed."""
    named = zip(parameters, values, strict=True)
    return [f"{name}={value}" for name, value in named if name != "config" and len(parameters[name]) > 1]


def _read(path: Path) -> dict[str, Any]:
    try:
        sweep = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"the study {path} could not be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"the study {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(sweep, dict):
        raise ConfigError(f"the study {path} should map keys such as `method` and `parameters` to values")
    for key in sweep:
        if key not in KEYS:
            near = get_close_matches(str(key), KEYS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"a W&B sweep takes {', '.join(KEYS)}"
            raise ConfigError(f"the study {path} has an unknown key {key!r}: {hint}")
    if sweep.get("method") != "grid":
        raise ConfigError(
            f"the study {path} has the method {sweep.get('method')!r}, but `ebm study` expands grids alone: write"
            " `method: grid`, or run it by `wandb sweep` and `wandb agent`"
        )
    return sweep


def _first_run(path: Path, sweep: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Sequence[str]], Run]:
    """What makes a run of the values of the parameters and of further options: of `ebm fit`, or of a program."""
    command = [str(word) for word in sweep.get("command") or []]
    if "${args}" in command and "fit" in command:
        base = [word for word in command[command.index("fit") + 1 :] if word != "${args}"]
        return lambda values, extra: _fit(path, base, values, extra)
    if "${args}" in command and "${program}" in command and sweep.get("program"):
        words = [word for word in command[command.index("${program}") + 1 :] if word != "${args}"]
        return lambda values, extra: _program(path, str(sweep["program"]), words, values, extra)
    raise ConfigError(
        f"the study {path} needs a `command` such as [ebm, fit, --config, base.yaml, '${{args}}'], or a `program` and"
        f" the command ['${{env}}', '${{interpreter}}', '${{program}}', '${{args}}'], got {command}"
    )


def _fit(path: Path, base: Sequence[str], values: Mapping[str, Any], extra: Sequence[str]) -> Run:
    options = [f"--{name}={value}" for name, value in values.items()]
    return resolve([_located(option, path) for option in [*base, *options]] + list(extra))[0]


def _program(path: Path, program: str, words: Sequence[str], values: Mapping[str, Any], extra: Sequence[str]) -> Run:
    """A call of a program, which `ebm.study.program` performs. Where it lies is no part of what it is."""
    asked = {"program": program, "arguments": list(words), "options": dict(values), "extra": list(extra)}
    where = {"root": str(_root(program, path))}
    return Run("", 0, yaml.safe_dump(asked | where, sort_keys=False))


def _values(path: Path, sweep: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values that each parameter takes."""
    found = {}
    parameters = sweep.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise ConfigError(f"the parameters of the study {path} should map names to values, got {parameters!r}")
    for name, parameter in parameters.items():
        given = parameter if isinstance(parameter, dict) else {}
        values = given.get("values", [given["value"]] if "value" in given else [])
        if not isinstance(values, list) or not values:
            raise ConfigError(
                f"the parameter {name!r} of the study {path} should be `{{values: [...]}}` or `{{value: ...}}` for a"
                f" grid, got {parameter!r}"
            )
        if name == "seed" and not all(type(value) is int for value in values):
            raise ConfigError(f"the seeds of the study {path} should be whole numbers, got {values!r}")
        found[name] = values
    if not found:
        raise ConfigError(f"the study {path} has no parameters to vary: give at least `config` (the arms) and `seed`")
    return found


def _located(option: str, study: Path) -> str:
    """The option with a file of its own found from here or else from a folder above the study file."""
    flag, equals, value = option.rpartition("=")
    if not value.endswith((".yaml", ".yml")) or Path(value).exists():
        return option
    return f"{flag}{equals}{_root(value, study) / value}"


def _root(file: str, study: Path) -> Path:
    """The folder that a file is named from: this one, or else one above the study file.

    So that a study that W&B's agents start from the root of a clone also runs from elsewhere.
    """
    for folder in (Path.cwd(), *study.resolve().parents):
        if (folder / file).exists():
            return folder
    raise ConfigError(f"the study {study} names {file}, which is neither here nor in a folder above the study")
