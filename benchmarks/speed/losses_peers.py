"""VICReg and Barlow Twins by ours, by the official formulas and by three libraries, of two branches of codes.

Those whose library is missing raise ImportError. Each is at the weights of the paper, as it comes from its library.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, mse_loss, relu

from ebm import FreeEnergy
from ebm.distances import SquaredDistance
from ebm.energies import JointEmbedding
from ebm.losses import PushDown
from ebm.regularizers import Covariance, CrossCorrelation, Variance

Loss = Callable[[Tensor, Tensor], Tensor]  # (N, D), (N, D) -> ()


def our_vicreg() -> Loss:
    """The three terms of `benchmarks/studies/arms/vicreg.yaml`."""
    F = FreeEnergy(JointEmbedding(nn.Identity(), distance=SquaredDistance()))
    invariance, variance, covariance = PushDown(), Variance(), Covariance()
    return lambda x, y: 25 * invariance(F, x, y) + 25 * variance(x, y) + covariance(x, y)


def our_barlow_twins() -> Loss:
    """The one term of `benchmarks/studies/arms/barlow_twins.yaml`."""
    return CrossCorrelation()


def official_vicreg() -> Loss:
    """github.com/facebookresearch/vicreg: the operations of its loss on one process, written out."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        invariance = mse_loss(x, y)
        total = 25 * invariance
        for codes in (x - x.mean(0), y - y.mean(0)):
            spread = torch.sqrt(codes.var(0) + 1e-4)
            covariance = codes.T @ codes / (len(codes) - 1)
            total = total + 25 / 2 * relu(1 - spread).mean() + _off_diagonal(covariance).pow(2).sum() / codes.shape[1]
        return total

    return loss


def official_barlow_twins() -> Loss:
    """github.com/facebookresearch/barlowtwins: the operations of its loss on one process, written out."""

    def loss(x: Tensor, y: Tensor) -> Tensor:
        a, b = (batch_norm(codes, None, None, training=True) for codes in (x, y))
        correlation = (a.T @ b).div_(len(a))
        return (correlation.diagonal() - 1).pow(2).sum() + 5e-3 * _off_diagonal(correlation).pow(2).sum()

    return loss


def _off_diagonal(matrix: Tensor) -> Tensor:
    """As both official codes take it: rows one longer, so that the diagonal becomes a column, and a copy without it."""
    n = len(matrix)
    return matrix.reshape(-1)[1:].view(n - 1, n + 1)[:, :-1].reshape(-1)


def lightly_vicreg() -> Loss:
    """`lightly.loss.VICRegLoss`."""
    return _lightly("vicreg_loss").VICRegLoss()


def lightly_barlow_twins() -> Loss:
    """`lightly.loss.BarlowTwinsLoss`."""
    return _lightly("barlow_twins_loss").BarlowTwinsLoss()


def solo_vicreg() -> Loss:
    """`solo.losses.vicreg.vicreg_loss_func`, whose variance term is twice the official one."""
    return _solo("vicreg").vicreg_loss_func


def solo_barlow_twins() -> Loss:
    """`solo.losses.barlow.barlow_loss_func`, unscaled."""
    function = _solo("barlow").barlow_loss_func
    return lambda x, y: function(x, y, scale_loss=1.0)


def stable_pretraining_vicreg() -> Loss:
    """`stable_pretraining.losses.VICRegLoss`."""
    return _stable_pretraining().VICRegLoss()


def stable_pretraining_barlow_twins() -> Loss:
    """`stable_pretraining.losses.BarlowTwinsLoss`, which divides by the unbiased deviation and by N."""
    return _stable_pretraining().BarlowTwinsLoss()


VICREG = {
    "ebm": our_vicreg,
    "official formula": official_vicreg,
    "lightly": lightly_vicreg,
    "solo-learn": solo_vicreg,
    "stable-pretraining": stable_pretraining_vicreg,
}
BARLOW_TWINS = {
    "ebm": our_barlow_twins,
    "official formula": official_barlow_twins,
    "lightly": lightly_barlow_twins,
    "solo-learn": solo_barlow_twins,
    "stable-pretraining": stable_pretraining_barlow_twins,
}


def _lightly(name: str) -> ModuleType:
    _bare("lightly", ["lightly", "lightly.loss"])
    return importlib.import_module(f"lightly.loss.{name}")


def _solo(name: str) -> ModuleType:
    _bare("solo-learn", ["solo", "solo.losses"])
    return importlib.import_module(f"solo.losses.{name}")


def _stable_pretraining() -> ModuleType:
    packages = ["stable_pretraining", "stable_pretraining.losses", "stable_pretraining.utils"]
    _bare("stable-pretraining", packages)
    distributed = importlib.import_module("stable_pretraining.utils.distributed")
    vars(sys.modules[packages[-1]]).update({k: v for k, v in vars(distributed).items() if not k.startswith("__")})
    return importlib.import_module("stable_pretraining.losses.joint_embedding")


def _bare(library: str, packages: Iterable[str]) -> None:
    """Let modules of a library be imported without what its packages import: trainers, datasets, image libraries."""
    folder = Path(str(importlib.metadata.distribution(library).locate_file("")))
    for package in packages:
        module = ModuleType(package)
        module.__path__ = [str(folder.joinpath(*package.split(".")))]
        sys.modules.setdefault(package, module)
