"""What the tests share: determinism, the catalogue of what a folder holds, and energies that can be read off."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import hypothesis
import pytest
import torch
from torch import Tensor, nn

from ebm import Energy

torch.set_num_threads(1)
hypothesis.settings.register_profile("ebm", deadline=None, derandomize=True, max_examples=25)
hypothesis.settings.load_profile("ebm")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Networks draw their weights from the global generator, so that no test sees what ran before it."""
    torch.manual_seed(0)


def every(package: str, kind: type | None = None, without: str | tuple[str, ...] = ()) -> list:
    """A parameter for each class that the files of a package define for use: public, not abstract, module or dataclass.

    `kind` keeps the subclasses of one abstraction, for folders that hold parts of it too; `without` leaves out folders
    below, whose contracts are others. A file that is dropped into the folder is found by being there.
    """
    names = [name for name in _modules(package) if not without or not name.startswith(without)]
    classes = [cls for name in names for cls in _defined_in(name) if issubclass(cls, kind or object)]
    assert classes, f"no class of {package} is a {kind}: the contract tests would pass by testing nothing"
    return [pytest.param(cls, id=cls.__name__) for cls in classes]


def _modules(package: str) -> list[str]:
    root = importlib.import_module(package)
    below = pkgutil.walk_packages(getattr(root, "__path__", []), f"{package}.")
    return [package, *(module.name for module in below)]


def _defined_in(name: str) -> Iterator[type]:
    for attribute, cls in vars(importlib.import_module(name)).items():
        usable = inspect.isclass(cls) and (issubclass(cls, nn.Module) or dataclasses.is_dataclass(cls))
        if usable and cls.__module__ == name and not attribute.startswith("_") and not inspect.isabstract(cls):
            yield cls


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Standard normal numbers, the same on every call and in every order of tests."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


class Table(Energy):
    """Energies that are entries of a matrix: codes are rows of the identity and pick one each."""

    def __init__(self, energies: Tensor) -> None:
        super().__init__()
        self.energies = nn.Parameter(energies.detach().clone())

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        return ((hx @ self.energies) * hy).sum(-1)

    def codes(self) -> tuple[Tensor, Tensor]:
        """`hx` picks the first half of the rows, `hy` the second half of the columns: no code stands on both sides."""
        hx, hy = torch.eye(len(self.energies), dtype=self.energies.dtype).chunk(2)
        return hx, hy


class Shifted(Energy):
    """Another energy plus a constant."""

    def __init__(self, energy: Energy, shift: float) -> None:
        super().__init__()
        self.energy, self.shift = energy, shift

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        return self.energy.cost(hx, hy, z) + self.shift
