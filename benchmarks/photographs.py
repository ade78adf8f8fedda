"""Patches of the two photographs that scikit-learn has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor

TILE = 48
FLAT = 0.03  # patches whose grey values, from 0 to 1, deviate by less show sky or blur
WHITENING = 0.1  # added to the variances, in units of their mean: what is below is mostly noise of the camera


@dataclass(frozen=True)
class Patches:
    """Patches `(n, side^2)` of unit length, those held out of other tiles of the photographs than those trained on."""

    train: Tensor
    held_out: Tensor


def load_patches(side: int, count: int, seed: int) -> Patches:
    """Grey patches that are not flat, without their mean, whitened as the training patches ask for, of length 1.

    A quarter of the tiles, at random, is held out.
    """
    generator = np.random.default_rng(seed)
    tiles = [tile for image in load_sample_images().images for tile in _tiles(image.mean(-1) / 255)]
    order = generator.permutation(len(tiles))
    held, kept = ([tiles[index] for index in part] for part in np.split(order, [len(tiles) // 4]))
    train = _sampled(kept, side, count, generator)
    held_out = _sampled(held, side, max(count // 10, 100), generator)
    variances, axes = np.linalg.eigh(train.T @ train / len(train))
    whiten = axes / np.sqrt(variances + WHITENING * variances.mean()) @ axes.T
    whitened = [part @ whiten for part in (train, held_out)]
    return Patches(*(torch.from_numpy(part / np.linalg.norm(part, axis=1, keepdims=True)) for part in whitened))


def _tiles(image: np.ndarray) -> list[np.ndarray]:
    rows, columns = (range(0, length - TILE + 1, TILE) for length in image.shape)
    return [image[row : row + TILE, column : column + TILE] for row in rows for column in columns]


def _sampled(tiles: Sequence[np.ndarray], side: int, count: int, generator: np.random.Generator) -> np.ndarray:
    kept = []
    for tile in tiles:
        windows = np.lib.stride_tricks.sliding_window_view(tile, (side, side)).reshape(-1, side * side)
        kept.append(windows[windows.std(1) > FLAT])
    pool = np.concatenate(kept)
    chosen = pool[generator.choice(len(pool), count, replace=False)]
    return chosen - chosen.mean(1, keepdims=True)
