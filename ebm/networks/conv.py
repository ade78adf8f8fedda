"""A small convolutional encoder."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import final

from torch import Tensor, nn


@final
class ConvNet(nn.Module):
    """3x3 convolutions, each with batch normalisation and a ReLU, then a mean over the image and a linear layer.

    All convolutions but the first have stride 2. Takes images `(batch, channels[0], height, width)` of any size to
    `(batch, features)`.
    """

    def __init__(self, channels: Sequence[int] = (1, 16, 32, 64), features: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, (into, out) in enumerate(pairwise(channels)):
            layers += [nn.Conv2d(into, out, 3, 1 if i == 0 else 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        self.channels = tuple(channels)
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels[-1], features)

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels[0], height, width) -> (batch, features)`."""
        if x.ndim != 4 or x.shape[1] != self.channels[0]:
            raise ValueError(
                f"this ConvNet takes images (batch, {self.channels[0]}, height, width), got {tuple(x.shape)}"
            )
        return self.head(self.body(x).mean((-2, -1)))
