"""Multi-layer perceptrons: encoders of small inputs, projectors, predictors, decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import final

from torch import Tensor, nn


@final
class MLP(nn.Module):
    """Linear layers of the given widths, with an activation between them and none at the end.

    Takes `(*batch, widths[0])`, or `(batch, ...)` of as many features, which are flattened. `norm` puts batch
    normalisation before each activation, and `norm_out` one after the last layer.
    """

    def __init__(
        self,
        widths: Sequence[int],
        norm: bool = False,
        norm_out: bool = False,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        if len(widths) < 2:
            raise ValueError(
                f"an MLP needs the widths of its input and its output, such as [64, 128, 32], got {widths}"
            )
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(widths[:-1]):
            layers += [
                nn.Linear(wide, narrow, bias=not norm),
                *([nn.BatchNorm1d(narrow)] if norm else []),
                activation(),
            ]
        layers.append(nn.Linear(widths[-2], widths[-1], bias=not norm_out))
        if norm_out:
            layers.append(nn.BatchNorm1d(widths[-1], affine=False))
        self.widths = tuple(widths)
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """`(*batch, widths[0]) -> (*batch, widths[-1])`."""
        if x.ndim > 2 and x.shape[-1] != self.widths[0]:
            x = x.flatten(1)
        if x.shape[-1] != self.widths[0]:
            raise ValueError(
                f"this MLP takes {self.widths[0]} features, got {tuple(x.shape)}: set widths[0] to {x.shape[-1]}"
            )
        return self.layers(x)
