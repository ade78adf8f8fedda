"""The residual encoder of IMPALA, for pictures of worlds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import final

from torch import Tensor, nn
from torch.nn.functional import relu


@final
class Impala(nn.Module):
    """Stacks of a convolution, a pooling by 2 and two residual blocks; then a linear layer and `LayerNorm`.

    That of Espeholt et al. 2018 (figure 3, deep) without its recurrent part. Takes `(batch, channels, size, size)`
    to `(batch, features)`. Channels (16, 32, 32) are the paper's. `normalized` puts codes on a sphere, nearly, about
    which a `RecurrentTransition` can turn them; without it they are as the linear layer leaves them.
    """

    def __init__(
        self,
        channels: int = 2,
        size: int = 65,
        features: int = 512,
        stacks: Sequence[int] = (16, 32, 32),
        normalized: bool = True,
    ) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.stacks = nn.Sequential(*(_stack(into, out) for into, out in pairwise([channels, *stacks])))
        for _ in stacks:
            size = (size + 1) // 2
        self.head = nn.Linear(stacks[-1] * size * size, features)
        self.norm = nn.LayerNorm(features) if normalized else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Pictures to codes. Raises ValueError for pictures of another shape."""
        if x.shape[1:] != (self.channels, self.size, self.size):
            expected = f"(batch, {self.channels}, {self.size}, {self.size})"
            raise ValueError(f"this Impala takes pictures {expected}, got {tuple(x.shape)}")
        return self.norm(self.head(relu(self.stacks(x)).flatten(1)))


def _stack(into: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(into, out, 3, 1, 1), nn.MaxPool2d(3, 2, 1), _Block(out), _Block(out))


class _Block(nn.Module):
    """`x + conv(relu(conv(relu(x))))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(relu(self.first(relu(x))))
