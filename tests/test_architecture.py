"""The table "Who may import whom" of the design, held as data and checked against the sources."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from conftest import every

from ebm import Energy
from ebm.adjoint import Adjoint
from ebm.distances import Distance
from ebm.solvers import Solver

ROOT = Path(__file__).parent.parent

LEVELS = {
    0: (
        *("layout", "constraints", "penalties", "domain", "problem", "curvature", "linear", "solvers", "samplers"),
        *("networks", "regularizers", "distances", "processes", "optimizers", "sites"),
    ),
    1: ("energy", "solve", "adjoint", "minimize", "sample", "constrained", "augmented_lagrangian"),
    2: ("free_energy", "marginals", "energies", "meters"),
    3: ("losses",),
    4: ("learner", "vectorized", "callbacks", "data", "worlds", "planning"),
    5: ("study", "cli"),
}

# Where the first module may stand that imports them; what is not named here may be imported anywhere.
FIRST_LEVEL = {
    "pytorch_lightning": 4,
    "lightning": 4,
    "datasets": 4,
    "kornia": 4,
    "gymnasium": 4,
    "logging": 4,
    "argparse": 5,
    "jsonargparse": 5,
    "wandb": 5,
    "submitit": 5,
    "optuna": 5,
    "plotly": 5,
}

# Besides what is above them, since each is to be read, tested and taken away by itself.
NEVER = {
    "ebm.losses": ("ebm.regularizers", "ebm.energies", "ebm.networks", "ebm.data"),
    "ebm.regularizers": ("ebm.losses", "ebm.energies", "ebm.networks", "ebm.data"),
}

# Imports inside a function, which hide what a module needs: `{module: {imported: why}}`.
LATE = {
    "ebm.solvers.scipy": {"scipy.optimize": "takes half a second, which a reference is not worth at every start"},
    "ebm.cli": {"ebm.study.commands": "so that --help does not wait for Lightning"},
    "ebm.study.tracking": {
        "wandb": "an extra: where it is not installed runs are logged to their folder alone",
        "pytorch_lightning.loggers": "its WandbLogger is of use only where wandb is",
    },
}


@cache
def sources() -> dict[str, ast.Module]:
    """Every module by its import name. The two links in `ebm/` are seen as the folders they point to."""
    folders = {"ebm": ROOT / "ebm", "ebm.losses": ROOT / "losses", "ebm.regularizers": ROOT / "regularizers"}
    found = {}
    for package, folder in folders.items():
        for path in sorted(folder.rglob("*.py")):
            if not any(parent.is_symlink() for parent in path.parents):
                inside = path.relative_to(folder).with_suffix("").parts
                name = ".".join([package, *inside]).removesuffix(".__init__")
                found[name] = ast.parse(path.read_text(), str(path))
    return found


modules = pytest.mark.parametrize("module", sorted(sources()))


def imported(tree: ast.AST) -> set[str]:
    """The names of the modules that a tree imports; `from ebm.a import b` is `ebm.a.b` where that is a module."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name for name in whole if name in sources()} or {"." * node.level + (node.module or "")}
    return names


def ours(tree: ast.AST) -> set[str]:
    return {name for name in imported(tree) if name.split(".")[0] == "ebm"}


def level(module: str) -> int | None:
    """The row of the table that a module stands in. `ebm` itself re-exports what is in the first three."""
    if module == "ebm":
        return 2
    rows = [row for row, parts in LEVELS.items() if module.split(".")[1] in parts]
    return rows[0] if rows else None


def functions(tree: ast.Module) -> list[ast.AST]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)]


@modules
def test_every_module_stands_in_the_table(module):
    assert level(module) is not None, f"give {module} a row in LEVELS and in the design"


@modules
def test_nothing_imports_upwards(module):
    assert not {name for name in ours(sources()[module]) if level(name) > level(module)}


def test_nothing_imports_in_a_circle():
    graph = {module: ours(tree) & sources().keys() for module, tree in sources().items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))
    assert set(order) == sources().keys()


@modules
def test_what_is_heavy_enters_at_its_level_and_not_below(module):
    roots = {name.split(".")[0] for name in imported(sources()[module])}
    assert not {name for name in roots if FIRST_LEVEL.get(name, 0) > level(module)}


@pytest.mark.parametrize("folder", NEVER)
def test_losses_and_regularizers_know_neither_each_other_nor_what_they_are_used_with(folder):
    inside = [tree for module, tree in sources().items() if module.startswith(folder)]
    assert inside
    assert not [name for tree in inside for name in ours(tree) if name.startswith(NEVER[folder])]


def test_regularizers_import_nothing_but_torch_what_knows_of_other_processes_and_penalties():
    inside = [tree for module, tree in sources().items() if module.startswith("ebm.regularizers")]
    names = {name for tree in inside for name in imported(tree)}
    names = {name for name in names if not name.startswith(("ebm.regularizers", "ebm.processes", "ebm.penalties"))}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"torch"}


@modules
def test_imports_are_absolute_and_name_what_they_take(module):
    for node in ast.walk(sources()[module]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the whole name"
            assert all(alias.name != "*" for alias in node.names), f"line {node.lineno}: say what is taken"


@modules
def test_imports_stand_at_the_top_unless_listed_with_a_reason(module):
    late = {name for function in functions(sources()[module]) for name in imported(function)}
    assert late == set(LATE.get(module, {}))


def test_only_the_study_the_command_line_and_the_reference_import_late_and_say_why():
    for module, reasons in LATE.items():
        assert module.startswith(("ebm.study", "ebm.cli", "ebm.solvers.scipy"))
        assert all(len(reason.split()) > 3 for reason in reasons.values())


@pytest.mark.parametrize("module", [module for module in sorted(sources()) if (level(module) or 0) < 4])
def test_below_the_learner_nothing_picks_a_device_or_seeds_the_global_generator(module):
    attributes = [node for node in ast.walk(sources()[module]) if isinstance(node, ast.Attribute)]
    assert not {node.attr for node in attributes} & {"cuda", "set_default_device", "set_default_dtype"}
    seeded = [node.value for node in attributes if node.attr == "manual_seed"]
    assert not [owner for owner in seeded if isinstance(owner, ast.Name) and owner.id == "torch"]


@pytest.mark.parametrize(
    "cls",
    [
        *every("ebm.losses"),
        *every("ebm.regularizers"),
        *every("ebm.energies"),
        *every("ebm.networks"),
        *every("ebm.solvers", Solver),
        *every("ebm.adjoint", Adjoint),
        *every("ebm.distances", Distance),
    ],
)
def test_a_class_is_abstract_or_final(cls):
    assert getattr(cls, "__final__", False), f"mark {cls.__name__} @final: to change it, wrap it"


@pytest.mark.parametrize("cls", [*every("ebm.losses"), *every("ebm.regularizers"), *every("ebm.energies", Energy)])
def test_what_a_folder_holds_says_what_it_is(cls):
    assert cls.__doc__
    assert sys.modules[cls.__module__].__doc__


def test_a_class_is_listed_by_being_in_a_file_of_the_folder(tmp_path, monkeypatch):
    package = tmp_path / "dropped_in"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mine.py").write_text(
        "from abc import ABC, abstractmethod\n"
        "from dataclasses import dataclass\n"
        "from torch.nn import Linear, Module\n"
        "class Mine(Module): pass\n"
        "@dataclass\n"
        "class Data: pass\n"
        "class Plain: pass\n"
        "class _Private(Module): pass\n"
        "class Abstract(Module, ABC):\n"
        "    @abstractmethod\n"
        "    def f(self): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    assert [parameter.id for parameter in every("dropped_in")] == ["Mine", "Data"]


def python(code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=directory, capture_output=True, text=True, check=False)


def test_importing_ebm_is_light_and_changes_nothing():
    code = (
        "import sys, torch; state = torch.get_rng_state(); threads = torch.get_num_threads(); import ebm;"
        "assert torch.equal(state, torch.get_rng_state()); assert threads == torch.get_num_threads();"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = python(code, ROOT)
    assert done.returncode == 0, done.stderr
    assert not FIRST_LEVEL.keys() - {"logging", "argparse"} & set(done.stdout.split())  # torch imports these two


@pytest.mark.parametrize("folder", ["losses", "regularizers"])
def test_a_folder_is_refused_under_its_bare_name_so_that_no_class_exists_twice(folder):
    done = python(f"import {folder}", ROOT)
    assert done.returncode == 1
    assert re.search(rf"ImportError: .*`from ebm\.{folder} import \.\.\.`", done.stderr)


@pytest.mark.parametrize("folder", ["losses", "regularizers"])
def test_the_refusal_is_the_first_statement_of_the_folder(folder):
    statements = sources()[f"ebm.{folder}"].body
    assert isinstance(statements[0], ast.Expr)  # the docstring
    assert isinstance(statements[1], ast.If)
    assert any(isinstance(node, ast.Raise) for node in statements[1].body)
