"""Trains the models of `benchmarks/verdicts.py`, many of them on one set of views."""

from __future__ import annotations

from typing import final

import torch
from kornia import augmentation
from torch import Tensor, nn
from verdicts_models import MODELS, Model

from ebm.data import Digits, TwoViews
from ebm.energies import Predictive
from ebm.losses.supervised import Supervised

BATCH, RATE = 128, 2e-3


@final
class Trainer:
    """Trains models of digits from one seed, on views that are drawn once for all of them."""

    def __init__(self, seed: int, epochs: int, passes: int = 10) -> None:
        source = Digits(seed=seed)
        self.seed, self.epochs = seed, epochs
        self.images, self.labels = source.load("train")[:]
        self.held_out, self.held_out_labels = source.load("test")[:]
        views = TwoViews(source, augmentations())
        torch.manual_seed(seed)
        self.views = [views.views(self.images) for _ in range(min(passes, epochs))]
        self.held_out_views = views.views(self.held_out)

    def train(self, name: str) -> Model:
        """A model of that name, trained."""
        torch.manual_seed(self.seed)
        model = MODELS[name]()
        energy = model.F.energy
        optimizer = torch.optim.AdamW(energy.parameters(), lr=RATE, weight_decay=1e-4)
        steps = self.epochs * (len(self.images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.05)
        for step in range(steps):
            epoch, batch = divmod(step, len(self.images) // BATCH)
            order = torch.randperm(len(self.images)) if batch == 0 else order  # noqa: F821 -- made by the first batch
            rows = order[batch * BATCH : (batch + 1) * BATCH]
            optimizer.zero_grad()
            self._loss(model, rows, epoch).backward()
            optimizer.step()
            schedule.step()
            energy.after_step((step + 1) / steps)
        model.F.eval()
        return model

    @torch.no_grad()
    def codes(self, model: Model, held_out: bool) -> tuple[Tensor, Tensor]:
        """Codes of pairs of images."""
        images = self.held_out if held_out else self.images
        views = self.held_out_views if held_out else self.views[0]
        return model.F.energy.encode(*_pairs(model, images, views))

    def _loss(self, model: Model, rows: Tensor, epoch: int) -> Tensor:
        views = self.views[epoch % len(self.views)]
        x, y = _pairs(model, self.images[rows], (views[0][rows], views[1][rows]))
        both = [(x, y), (y, x)] if isinstance(model.F.energy, Predictive) else [(x, y)]
        return torch.stack([self._terms(model, a, b, self.labels[rows]) for a, b in both]).mean()

    def _terms(self, model: Model, x: Tensor, y: Tensor, labels: Tensor) -> Tensor:
        hx, hy = model.F.energy.encode(x, y)
        told = {term: (labels,) if isinstance(term.fn, Supervised) else () for term in model.losses}
        losses = [term.weight * term.fn(model.F, hx, hy, *told[term]) for term in model.losses]
        return torch.stack(losses + [term.weight * term.fn(hx, hy) for term in model.regularizers]).sum()


def augmentations() -> list[nn.Module]:
    """Those of `benchmarks/studies/digits.yaml`."""
    return [
        augmentation.RandomAffine(degrees=12.0, translate=(0.1, 0.1), scale=(0.88, 1.12), p=1.0),
        augmentation.RandomBrightness((0.75, 1.25), p=1.0),
        augmentation.RandomContrast((0.75, 1.25), p=1.0),
        augmentation.RandomErasing(scale=(0.02, 0.12), ratio=(0.5, 2.0), p=0.4),
        augmentation.RandomGaussianNoise(std=0.08, p=1.0),
    ]


def _pairs(model: Model, images: Tensor, views: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    if model.pairs == "images":
        return images, images
    if model.pairs == "halves":
        upper, lower = images.flatten(1).chunk(2, 1)
        return upper, lower
    return views
