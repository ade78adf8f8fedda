"""A study file: a W&B sweep whose description is the question and whose first arm is the control."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
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
    """Read a study file and resolve all of its runs, each with the `extra` options of `ebm fit` after its own.

    `seeds` take the place of the file's.
    Raises ConfigError for a key, a file, an option or a class that is not there, before any work starts.
    """
    path = Path(path)
    sweep = _read(path)
    _check_extra(extra)
    base, parameters = _command(path, sweep), _values(path, sweep)
    seeds = seeds or parameters.pop("seed", [0])
    parameters.pop("seed", None)
    runs = []
    for values in itertools.product(*parameters.values()):
        options = [f"--{name}={value}" for name, value in zip(parameters, values, strict=True)]
        first, _ = resolve([_located(option, path) for option in [*base, *options]] + list(extra))
        arm = ", ".join([first.arm, *_varied(parameters, values)])
        runs += [replace(first, arm=arm).with_seed(seed) for seed in seeds]
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


def _command(path: Path, sweep: Mapping[str, Any]) -> list[str]:
    """What the sweep's command gives to `ebm fit` before the parameters."""
    command = [str(word) for word in sweep.get("command") or []]
    if "fit" not in command or "${args}" not in command:
        raise ConfigError(
            f"the study {path} needs a `command` such as [ebm, fit, --config, base.yaml, '${{args}}'], got {command}"
        )
    return [word for word in command[command.index("fit") + 1 :] if word != "${args}"]


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
    """The option with a file of its own found from here or else from a folder above the study file.

    So that a study that W&B's agents start from the root of a clone also runs from elsewhere.
    """
    flag, equals, value = option.rpartition("=")
    if not value.endswith((".yaml", ".yml")) or Path(value).exists():
        return option
    for folder in study.resolve().parents:
        if (folder / value).exists():
            return f"{flag}{equals}{folder / value}"
    raise ConfigError(f"the study {study} names {value}, which is neither here nor in a folder above the study")
