"""What `losses.py` measures: methods by the names of their tables, and the codes that they are measured on."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator

import torch
from losses_peers import BARLOW_TWINS, VICREG, Loss
from torch import Tensor, nn

from ebm import FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding


def step(loss: Loss, x: Tensor, y: Tensor) -> None:
    """Forward and backward."""
    x.grad = y.grad = None
    loss(x, y).backward()


def codes(shape: tuple[int, int], device: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two branches of normal codes, alike as two views are."""
    x = torch.randn(shape, device=device)
    y = x + 0.3 * torch.randn(shape, device=device)
    return x.to(dtype).requires_grad_(), y.to(dtype).requires_grad_()


def _catalogue() -> dict[str, Callable[[], Loss]]:
    """Every loss and regularizer that the folders hold, of codes; those of a density cost what their energy does."""
    found: dict[str, Callable[[], Loss]] = {cls.__name__: cls for cls in _classes("ebm.regularizers")}
    found |= {cls.__name__: _loss(cls) for cls in _classes("ebm.losses")}
    return found


def _classes(package: str) -> Iterator[type[nn.Module]]:
    root = importlib.import_module(package)
    for module in pkgutil.iter_modules(root.__path__, f"{package}."):
        if not module.ispkg:
            for name, cls in vars(importlib.import_module(module.name)).items():
                usable = inspect.isclass(cls) and issubclass(cls, nn.Module) and not inspect.isabstract(cls)
                if usable and cls.__module__ == module.name and not name.startswith("_"):
                    yield cls


def _loss(cls: type[nn.Module]) -> Callable[[], Loss]:
    def make() -> Loss:
        F, loss = FreeEnergy(JointEmbedding(nn.Identity(), distance=CosineDistance())), cls()
        return lambda x, y: loss(F, x, y)

    return make


TABLES: dict[str, dict[str, Callable[[], Loss]]] = {
    "VICReg": VICREG,
    "Barlow Twins": BARLOW_TWINS,
    "All": _catalogue(),
}
