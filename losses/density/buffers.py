"""Buffers whose shape the first batch gives, and a checkpoint after that."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn


def sized_by_a_checkpoint(module: nn.Module, *names: str) -> None:
    """Let these buffers take the shape of what is loaded into them, so that a new module resumes from a checkpoint."""
    module.register_load_state_dict_pre_hook(partial(_take_shapes, names))


def _take_shapes(names: tuple[str, ...], module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in names:
        saved = state.get(prefix + name)
        if isinstance(saved, Tensor):
            setattr(module, name, module.get_buffer(name).new_empty(saved.shape, dtype=saved.dtype))
