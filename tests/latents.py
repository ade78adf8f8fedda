"""Regularizers of latents that have to be told what, each with an example."""

from collections.abc import Callable

from torch import nn

from ebm import L1
from ebm.regularizers import Capacity, Penalised

EXAMPLES: dict[type, Callable[[], nn.Module]] = {Penalised: lambda: Penalised(L1(0.5)), Capacity: lambda: Capacity(0.0)}


def made(kind: type[nn.Module]) -> nn.Module:
    """One without arguments, or the example where it takes some."""
    return EXAMPLES.get(kind, kind)()
