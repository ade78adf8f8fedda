"""Codes of frames for the fork in the road: principal components, and encoders trained with the predictor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ebm.energies import LatentPredictive, MovingAverage, SharedBranch, StopGradient
from ebm.energies.predictive import Target
from ebm.networks import MLP
from ebm.regularizers import Covariance, SIGReg, Variance


def context(frames: nn.Module) -> nn.Module:
    """Each of some frames by itself, `(batch, frames, size, size)` to `(batch, frames * features)`."""
    return nn.Sequential(nn.Flatten(2), frames, nn.Flatten(1))


@dataclass(frozen=True)
class Components:
    """So many principal components of frames of the drive."""

    features: int


class PrincipalComponents(nn.Module):
    """`(x - mean) V / s`, at one scale for all: the mean of their variances is 1."""

    def __init__(self, frames: Tensor, way: Components) -> None:
        super().__init__()
        self.register_buffer("mean", frames.mean(0))
        _, values, axes = torch.linalg.svd(frames - self.mean, full_matrices=False)
        scale = (values[: way.features].square().mean() / len(frames)).sqrt()
        self.register_buffer("axes", axes[: way.features].T / scale)

    def forward(self, x: Tensor) -> Tensor:
        """`(*batch, pixels) -> (*batch, features)`."""
        return (x - self.mean) @ self.axes


class Batch(NamedTuple):
    """What a term may look at beside codes."""

    y: Tensor  # (n, 1, size, size)
    exits: Tensor  # (n,)
    rows: Tensor  # (n,) of the training data


class Told(nn.Module):
    """Cross-entropy of the choice, read from the code of y: inverse dynamics, where the driver's action is recorded.

    It is recorded for a share of the drives.
    """

    def __init__(self, features: int, pixels: int, modes: int, share: float) -> None:
        super().__init__()
        self.reader, self.share = nn.Linear(features, modes), share

    def forward(self, energy: LatentPredictive, hx: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """A scalar, 0 for a batch of which no choice is recorded."""
        recorded = batch.rows % 100 < 100 * self.share
        losses = cross_entropy(self.reader(code), batch.exits, reduction="none")
        return (losses * recorded).sum() / recorded.sum().clamp_min(1)


class Rebuilt(nn.Module):
    """The frame, decoded from its code: squared error."""

    def __init__(self, features: int, pixels: int, modes: int) -> None:
        super().__init__()
        self.decoder = MLP([features, 128, pixels])

    def forward(self, energy: LatentPredictive, hx: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """A scalar."""
        return (self.decoder(code) - batch.y.flatten(1)).square().sum(1).mean()


class Unpredicted(nn.Module):
    """`25 max(0, 1 - mean |hy - f(hx)|^2 / 2)`, f a prediction without a latent: something is to be left for z to tell.

    f learns beside it, and no derivative of its own loss reaches the codes.
    """

    def __init__(self, features: int, pixels: int, modes: int) -> None:
        super().__init__()
        self.mean = MLP([2 * features, 96, features])

    def forward(self, energy: LatentPredictive, hx: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """A scalar."""
        mean = self.mean(hx.detach())
        left = (code - mean.detach()).square().sum(1).mean()
        return 25 * (1 - left / 2).relu() + (mean - code.detach()).square().mean()


class Balanced(nn.Module):
    """`E H(z | y) - H(z)`, z by `softmax(-10 E / features)`: every value is used, one at a time."""

    def __init__(self, features: int, pixels: int, modes: int) -> None:
        super().__init__()
        self.features = features

    def forward(self, energy: LatentPredictive, hx: Tensor, code: Tensor, batch: Batch) -> Tensor:
        """A scalar, at least `-log K`."""
        values = torch.eye(energy.prediction.latent_features)
        costs = torch.stack([energy.cost(hx, code, z.expand(len(hx), -1)) for z in values], 1)
        used = (-10 * costs / self.features).softmax(1)
        return torch.special.entr(used).sum(1).mean() - torch.special.entr(used.mean(0)).sum()


Term = Callable[[int, int, int], nn.Module]  # features, pixels, modes


class Terms(nn.Module):
    """VICReg's, or SIGReg, of the codes of the frame now and the later one, and perhaps one more."""

    def __init__(self, sigreg: bool, more: nn.Module | None) -> None:
        super().__init__()
        self.sigreg, self.variance, self.covariance = SIGReg(slices=64), Variance(), Covariance()
        self.gaussian, self.more = sigreg, more

    def forward(self, energy: LatentPredictive, hx: Tensor, hy: Tensor, batch: Batch) -> Tensor:
        """A scalar, that reaches the encoder also where the target is held still."""
        code = hy if hy.requires_grad else energy.context(batch.y)
        codes = hx[:, code.shape[1] :], code
        total = 25 * (self.sigreg if self.gaussian else self.variance)(*codes)
        total = total if self.gaussian else total + self.covariance(*codes)
        return total if self.more is None else total + self.more(energy, hx, code, batch)


@dataclass(frozen=True)
class Trained:
    """An encoder that is trained with the predictor, and what may keep it from forgetting the choice."""

    target: Callable[[nn.Module], Target] = SharedBranch
    more: Term | None = None
    features: int = 16
    sigreg: bool = False
    on_the_way: bool = False

    def terms(self, pixels: int, modes: int) -> Terms:
        """What is minimised beside the energy."""
        return Terms(self.sigreg, None if self.more is None else self.more(self.features, pixels, modes))

    def pairs(self, step: int) -> tuple[int, int]:
        """The first frame of a pair and the later one, by the step of training."""
        return ((0, 5), (2, 7), (4, 7))[step % 3] if self.on_the_way else (0, 5)


CODES: Mapping[str, Components | Trained] = {
    "frozen": Components(4),
    "frozen 8": Components(8),
    "joint": Trained(),
    "stop-gradient": Trained(StopGradient),
    "moving average": Trained(partial(MovingAverage, base=0.99)),
    "on the way": Trained(on_the_way=True),
    "told 2 %": Trained(more=partial(Told, share=0.02)),
    "rebuilt": Trained(more=Rebuilt),
    "unpredicted": Trained(more=Unpredicted),
    "balanced": Trained(more=Balanced),
    "sigreg": Trained(sigreg=True),
}
