"""What a run is: its configuration, resolved and checked before any work starts."""

from __future__ import annotations

import hashlib
import inspect
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from enum import Enum
from functools import cached_property
from pathlib import Path
from pydoc import locate
from types import ModuleType
from typing import Any, final

import pytorch_lightning as pl
import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from ebm.callbacks.metering import Meter
from ebm.data.pairs import Pairs
from ebm.data.views import TwoViews
from ebm.learner import Learner
from ebm.meters import energy_gap, rank, spread
from ebm.study.store import RunFolder

# What a run sets itself, so that it can be found, resumed and compared.
MANAGED = {
    "barebones",
    "default_root_dir",
    "enable_autolog_hparams",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "inference_mode",
    "logger",
    "model_registry",
    "num_sanity_val_steps",
    "plugins",
}


DESCRIPTION = """Train one energy, as configuration files and options say; later ones win.
Classes are named by import path, yours as well as ours. A run that was interrupted goes on where it stopped when the
command is given again. --print_config shows what a command comes to; --model.energy.help CLASS and --data.help CLASS
say what a class takes.
"""


class ConfigError(ValueError):
    """A configuration that no run can be made of: says what came, what was expected and what to do."""


@final
@dataclass(frozen=True)
class Run:
    """A configuration in full, and the name that its contents give it."""

    arm: str
    seed: int
    config: str  # YAML

    @cached_property
    def id(self) -> str:
        """A hash of all that decides the numbers of a run; runs with the same one are the same run."""
        contents = {key: value for key, value in yaml.safe_load(self.config).items() if key not in ("name", "root")}
        return hashlib.sha256(yaml.safe_dump(contents, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def is_program(self) -> bool:
        """Whether it is a call of a program rather than of `ebm fit`."""
        return "program" in yaml.safe_load(self.config)

    def folder(self, results: Path) -> RunFolder:
        """Where it is kept, whichever study asked for it."""
        return RunFolder(results / "runs" / self.id)

    def with_seed(self, seed: int) -> Run:
        """The same run from another seed."""
        contents = yaml.safe_load(self.config) | {"seed": seed}
        return replace(self, seed=seed, config=yaml.safe_dump(contents, sort_keys=False))


@final
@dataclass(frozen=True)
class Parts:
    """What a configuration describes, built."""

    learner: Learner
    data: Pairs
    meters: Sequence[Meter]
    probes: bool
    trainer: dict[str, Any]
    checkpoint_every: int


def parser() -> ArgumentParser:
    """Options of a run: `seed`, `model` (a Learner), `data` (a Pairs), `meters`, `trainer` (Lightning's)."""
    p = ArgumentParser(
        prog="ebm fit",
        exit_on_error=False,
        allow_abbrev=False,
        description=DESCRIPTION,
        print_config="--print_config",
    )
    p.add_argument("--config", action="config", help="a YAML file of options; may be given several times")
    p.add_argument("--seed", type=int, default=0, help="of the weights, the order of the data and the augmentations")
    p.add_argument("--name", type=str | None, default=None, help="of the arm in a report; else of its last file")
    p.add_argument("--results", type=str, default="results", help="the folder below which runs are kept")
    p.add_class_arguments(Learner, "model")
    p.add_subclass_arguments(Pairs, "data")
    p.set_defaults({"data": {"class_path": f"{TwoViews.__module__}.{TwoViews.__name__}"}})
    p.add_argument("--meters", type=list[Meter], default=[spread, rank, energy_gap], help="import paths of meters")
    p.add_argument("--probes", type=bool, default=True, help="score representations by readers fitted to labels")
    p.add_argument("--checkpoint_every", type=int, default=100, help="steps between checkpoints to resume from")
    p.add_class_arguments(pl.Trainer, "trainer", instantiate=False, skip=MANAGED)
    return p


def resolve(arguments: Sequence[str]) -> tuple[Run, Path]:
    """The run that command-line arguments, and the files that they name, describe, and the results folder.

    Raises ConfigError.
    """
    p = parser()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            namespace = p.parse_args(list(arguments))
            files = [Path(str(path)) for path in namespace.pop("config") or []]
            results = Path(namespace.pop("results"))
            contents = yaml.safe_load(p.dump(_named(namespace), skip_validation=True))
            p.instantiate(namespace)
    except (ArgumentError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(_explain(p, error, arguments)) from error
    name = namespace.name or (files[-1].stem if files else "run")
    return Run(name, namespace.seed, yaml.safe_dump(contents, sort_keys=False)), results


def _named(value: Any) -> Any:
    """The same with members of enumerations by name, as which the parser reads but does not write them."""
    if isinstance(value, Namespace | dict):
        items = vars(value) if isinstance(value, Namespace) else value
        return {key: _named(item) for key, item in items.items()}
    if isinstance(value, list):
        return [_named(item) for item in value]
    return value.name if isinstance(value, Enum) else value


def build(run: Run) -> Parts:
    """Networks, data, meters and settings of a run."""
    p = parser()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts: Namespace = p.instantiate(p.parse_string(run.config))
    settings = {key: value for key, value in vars(parts.trainer).items() if value is not None}
    return Parts(parts.model, parts.data, parts.meters, parts.probes, settings, parts.checkpoint_every)


def _explain(p: ArgumentParser, error: Exception, arguments: Sequence[str]) -> str:
    """The parser's message in one piece, with the names nearest to those that it does not know."""
    message = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    unknown = re.findall(r"(?:attribute|[Oo]ption|arguments: --|Key) ?'?([\w.]+)'?", message)
    known = _names(p, message)
    unknown += [name.partition(".")[0] for name in unknown]
    near = [match for name in unknown for match in get_close_matches(name, known, 1, 0.75) if match not in unknown]
    hint = f" Did you mean {' or '.join(dict.fromkeys(near))}?" if near else ""
    return (
        f"{message.rstrip('.')}.{hint} The arguments were: {' '.join(arguments)}. `ebm fit --help` lists all options."
    )


def _parameters(cls: type) -> list[str]:
    try:
        return list(inspect.signature(cls).parameters)
    except ValueError:  # types written in C have none
        return []


def _names(p: ArgumentParser, message: str) -> list[str]:
    """What could have been meant: options, and what the modules and classes that a message quotes contain."""
    options = [action.dest for action in p._actions]
    names = [*options, *(option.rpartition(".")[2] for option in options)]
    for path in re.findall(r"'([\w.]+)'", message):
        found = locate(path)
        if isinstance(found, ModuleType):
            names += [name for name in vars(found) if not name.startswith("_")]
        elif isinstance(found, type):
            names += [name for base in found.__mro__ if "__init__" in vars(base) for name in _parameters(base)]
    return names
