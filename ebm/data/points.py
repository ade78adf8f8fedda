"""Rows of numbers, to learn the density of."""

from __future__ import annotations

from typing import final

from torch import Tensor

from ebm.data.pairs import Pairs


@final
class Points(Pairs):
    """Batches `(x, y)` in which y is a row `(features,)` of the source and x has no features: a density of y alone."""

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return rows.new_empty(len(rows), 0), rows

    def check(self, rows: Tensor) -> None:
        if rows.ndim != 2 or not rows.is_floating_point() or not bool(rows.isfinite().all()):
            raise ValueError(
                f"{self.source} must give finite points (batch, features) of floating point, got {tuple(rows.shape)} of"
                f" {rows.dtype}: for images take TwoViews"
            )
