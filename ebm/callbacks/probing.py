"""Scores frozen representations by simple readers that were fitted to labels."""

from __future__ import annotations

from typing import final

import pytorch_lightning as pl
import torch

from ebm.data.pairs import Pairs
from ebm.data.source import Split
from ebm.meters import effective_rank, knn_probe, linear_probe, normalized_std
from ebm.meters.probes import Labelled


@final
class Probing(pl.Callback):
    """Logs `probe/linear` and `probe/knn`, accuracies on held-out images, at each validation.

    The readers are fitted to the representations of the training images, without augmentation. Beside them stand the
    spread and the rank of the representation, `representation/std`, `/normalized_std` and `/effective_rank`.
    """

    def __init__(self, data: Pairs, neighbors: int = 5, strength: float = 1.0) -> None:
        self.data = data
        self.neighbors, self.strength = neighbors, strength

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking:
            return
        train, test = (representations(self.data, pl_module, split) for split in ("train", "test"))
        pl_module.log_dict(
            {
                "probe/linear": linear_probe(train, test, self.strength),
                "probe/knn": knn_probe(train, test, self.neighbors),
                "representation/std": float(test[0].std(0, correction=0).mean()),
                "representation/normalized_std": normalized_std(test[0]),
                "representation/effective_rank": effective_rank(test[0]),
            }
        )


@torch.no_grad()
def representations(data: Pairs, learner: pl.LightningModule, split: Split) -> Labelled:
    """Representations `(N, D)` and labels `(N,)` of all images of a part, on the CPU."""
    rows = [(learner(images.to(learner.device)).float().cpu(), labels) for images, labels in data.labelled(split)]
    features, labels = (torch.cat(part) for part in zip(*rows, strict=True))
    return features, labels
