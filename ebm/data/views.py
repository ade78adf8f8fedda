"""Pairs that match: two random views of the same image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from ebm.data.pairs import Pairs
from ebm.data.source import Source


@final
class TwoViews(Pairs):
    """Batches `(x, y)` of two views of each image, made on the device by random `augmentations`.

    `augmentations` are modules that take and return images `(batch, channels, height, width)`, such as kornia's; those
    of y may differ (`augmentations_y`). Images that are held out get views too, the same ones at each validation.
    With `labels` batches are `(x, y, labels)`, for losses that are `Supervised`.
    """

    def __init__(
        self,
        source: Source,
        augmentations: Sequence[nn.Module],
        augmentations_y: Sequence[nn.Module] | None = None,
        batch_size: int = 256,
        workers: int = 0,
        labels: bool = False,
    ) -> None:
        super().__init__(source, batch_size, workers, labels)
        self.to_x = nn.Sequential(*augmentations)
        self.to_y = nn.Sequential(*(augmentations if augmentations_y is None else augmentations_y))

    def pairs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.views(rows)

    @torch.no_grad()
    def views(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Two views of each image."""
        x, y = self.to_x(images), self.to_y(images)
        if x.shape != y.shape or len(x) != len(images):
            raise ValueError(
                f"the two views of images {tuple(images.shape)} have shapes {tuple(x.shape)} and {tuple(y.shape)}: end"
                " both lists of augmentations with the same size, one view for each image"
            )
        return x, y

    def check(self, rows: Tensor) -> None:
        if rows.ndim != 4 or not rows.is_floating_point():
            raise ValueError(
                f"{self.source} must give images (batch, channels, height, width) of floating point in [0, 1], got"
                f" {tuple(rows.shape)} of {rows.dtype}"
            )
        if not bool(rows.isfinite().all()):
            raise ValueError(f"{self.source} holds pixels that are NaN or infinite")
        self.views(rows)
