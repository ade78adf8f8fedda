"""Parts of labelled data that share no sample: to fit a reader to, to choose its settings on, to score it on once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

Labelled = tuple[Tensor, Tensor]  # representations (N, D) and labels (N,)


@final
class Parts(NamedTuple):
    """Representations with labels, in three parts."""

    train: Labelled
    validation: Labelled
    test: Labelled


def split(data: Labelled, shares: Sequence[float] = (0.6, 0.2, 0.2), seed: int = 0) -> Parts:
    """Train, validation and test parts of these shares, in each class by itself, drawn by `seed`; rows in order.

    By `validation` choose penalties, rates and epochs; `test` is for one number at the end. Counts are rounded, so that
    a class of one sample is in the part that holds the middle of it. Raises ValueError unless the shares are three
    numbers, not negative, that add up to 1, or unless each row has one label.
    """
    features, labels = data
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"the shares of train, validation and test are not negative and add up to 1, not {shares}")
    if labels.ndim != 1 or len(labels) != len(features):
        raise ValueError(f"each row has one label: got {tuple(features.shape)} rows and {tuple(labels.shape)} labels")
    place = places(labels, seed)
    ends = torch.tensor(shares, dtype=torch.float64, device=labels.device).cumsum(0)[:2]
    part = (place[:, None] > ends).sum(1)
    return Parts(*((features[part == i], labels[part == i]) for i in range(3)))


def places(labels: Tensor, seed: int) -> Tensor:
    """Where each sample stands in a random order of its class, `(rank + 1/2) / size of the class`, in float64."""
    rank, counts = ranks(labels, seed)
    return (rank + 0.5) / counts.double()


def ranks(labels: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The rank of each sample in a random order of its class, from 0, and the size of that class, `(N,)` both."""
    _, classes, counts = labels.unique(return_inverse=True, return_counts=True)
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
    order = shuffled[classes[shuffled].argsort(stable=True)]
    starts = (counts.cumsum(0) - counts)[classes[order]]
    within = torch.arange(len(labels), device=labels.device) - starts
    return torch.empty_like(order).index_copy_(0, order, within), counts[classes]
