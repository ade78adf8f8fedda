"""The residual network of 18 layers, for small images."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn


@final
class ResNet18(nn.Module):
    """ResNet-18 (He, Zhang, Ren, Sun 2016, table 1) for images of 32 x 32: its stem is one 3 x 3 convolution.

    As in section 4.2 of the paper and in SimCLR's appendix B.9, the stem has stride 1 and no pooling. Takes images
    `(batch, channels, height, width)` to `(batch, 8 width)`, 512 features unless a narrower network is asked for.
    For large images name torchvision's by its class path.
    """

    def __init__(self, channels: int = 3, width: int = 64) -> None:
        super().__init__()
        self.channels = channels
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        stages = [_stage(widths[i], widths[i + 1], stride=1 if i == 0 else 2) for i in range(4)]
        self.body = nn.Sequential(nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.body.extend(stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """`(batch, channels, height, width) -> (batch, 8 width)`."""
        if x.ndim != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"this ResNet18 takes images (batch, {self.channels}, height, width), got {tuple(x.shape)}"
            )
        return self.body(x).mean((-2, -1))


def _stage(narrow: int, wide: int, stride: int) -> nn.Module:
    return nn.Sequential(_Block(narrow, wide, stride), _Block(wide, wide, 1))


class _Block(nn.Module):
    """`relu(f(x) + shortcut(x))`, with two convolutions in `f`; the shortcut projects where the shape changes."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(narrow, wide, 3, stride, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, 1, 1, bias=False),
            nn.BatchNorm2d(wide),
        )
        changes = stride != 1 or narrow != wide
        projection = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))
        self.shortcut = projection if changes else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return (self.residual(x) + self.shortcut(x)).relu()
