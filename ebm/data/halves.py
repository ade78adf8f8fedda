"""Halves of images: what is below, given what is above."""

from __future__ import annotations

from typing import final

from torch import Tensor

from ebm.data.pairs import Pairs


@final
class Halves(Pairs):
    """Batches `(x, y)` of the upper and the lower half of each image, `(batch, channels, height / 2, width)` both."""

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        upper, lower = rows.chunk(2, -2)
        return upper, lower

    def check(self, rows: Tensor) -> None:
        if rows.ndim != 4 or not rows.is_floating_point() or rows.shape[-2] % 2 or not bool(rows.isfinite().all()):
            raise ValueError(
                f"{self.source} must give finite images (batch, channels, height, width) of floating point and of even"
                f" height, got {tuple(rows.shape)} of {rows.dtype}"
            )
