"""Small models of digits with a fault built in, and without: what `benchmarks/verdicts.py` asks verdicts of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, final

import torch
from torch import Tensor, nn

from ebm import LBFGS, FreeEnergy
from ebm.distances import CosineDistance
from ebm.energies import JointEmbedding, MovingAverage, Predictive
from ebm.energies.joined import joined
from ebm.energies.predictive import StopGradient, Target
from ebm.energy import Energy
from ebm.learner import Term
from ebm.losses import NTXent, PushDown, SupervisedContrastive
from ebm.networks import MLP
from ebm.regularizers import Covariance, CrossCorrelation, SIGReg, Variance

WIDTH = 128  # of the codes
NARROW = (
    32  # of those that are bent: to fill more of them, a surface of two dimensions winds faster than can be learned
)


@final
class Trained(Target):
    """The branch itself, and the derivative reaches it: SimSiam without its stop-gradient."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()

    def forward(self, branch: nn.Module, y: Tensor) -> Tensor:
        return branch(y)


@final
class Noise(Target):
    """Numbers that have nothing to do with y."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()

    def forward(self, branch: nn.Module, y: Tensor) -> Tensor:
        return torch.randn(len(y), WIDTH)


@final
class Surface(nn.Module):
    """`sin(W h + b)` of a code of few features: it fills all dimensions, and bends through them."""

    def __init__(self, features: int, width: int, frequency: float) -> None:
        super().__init__()
        self.directions = nn.Parameter(frequency * torch.randn(features, width), requires_grad=False)
        self.phases = nn.Parameter(2 * torch.pi * torch.rand(width), requires_grad=False)

    def forward(self, h: Tensor) -> Tensor:
        return (h @ self.directions + self.phases).sin()


@final
class Nearest(nn.Module):
    """A code is replaced by the nearest of few learned ones, or at a temperature by a mixture of them.

    The derivatives of the nearest are those of a mixture.
    """

    def __init__(self, width: int, number: int, temperature: float | None = None) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(number, width))
        self.temperature = temperature

    def forward(self, h: Tensor) -> Tensor:
        soft = (-torch.cdist(h, self.codes) / (self.temperature or 1.0)).softmax(-1)
        if self.temperature is not None:
            return soft @ self.codes
        hard = nn.functional.one_hot(soft.argmax(-1), len(self.codes)).to(soft.dtype)
        return (hard + soft - soft.detach()) @ self.codes


@final
class Conditional(Energy):
    """`|y - decoder(x, z)|^2` of the lower half y of an image, given its upper half x and a latent."""

    def __init__(self, latents: int) -> None:
        super().__init__()
        self.decoder = MLP([32 + latents, 128, 32], activation=nn.Tanh)
        self.latents = latents

    def latent(self, hx: Tensor, hy: Tensor) -> Tensor | None:
        return (hx[..., :1] + hy[..., :1]).expand(*hx[..., 0].shape, self.latents) * 0 if self.latents else None

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        return (hy - self.decoder(hx if z is None else joined(hx, z))).square().sum(-1)


@dataclass(frozen=True)
class Model:
    """What is trained, by which terms, on which pairs, and the fault that was built in."""

    fault: str
    F: FreeEnergy
    losses: Sequence[Term] = ()
    regularizers: Sequence[Term] = ()
    pairs: Literal["views", "images", "halves"] = "views"
    """Two views of an image, the same image twice (so that all may be memorised), or its upper and lower half."""


def encoder() -> MLP:
    """What `benchmarks/studies/digits.yaml` has."""
    return MLP([64, 256, 256, 64])


def projector() -> MLP:
    """What `benchmarks/studies/digits.yaml` has."""
    return MLP([64, 256, WIDTH], norm=True)


def vicreg(fault: str, variance: float, covariance: float, projector: Callable[[], nn.Module] = projector) -> Model:
    """VICReg, with weights of its own."""
    regularizers = [Term(variance, Variance()), Term(covariance, Covariance())]
    return Model(fault, FreeEnergy(JointEmbedding(encoder(), projector())), [Term(25, PushDown())], regularizers)


def contrastive(fault: str, projector: Callable[[], nn.Module] = projector, temperature: float = 0.1) -> Model:
    """SimCLR."""
    F = FreeEnergy(JointEmbedding(encoder(), projector(), CosineDistance()))
    return Model(fault, F, [Term(1, NTXent(temperature))])


def memorised(fault: str, pairs: Literal["views", "images"] = "images") -> Model:
    """The classes of the training images, by supervised contrastive learning, without augmentation or with it."""
    F = FreeEnergy(JointEmbedding(encoder(), projector(), CosineDistance()))
    return Model(fault, F, [Term(1, SupervisedContrastive(temperature=0.1))], pairs=pairs)


def predictive(fault: str, predictor: nn.Module, target: Callable[[nn.Module], Target]) -> Model:
    """SimSiam, BYOL, and what is left of them."""
    return Model(fault, FreeEnergy(Predictive(encoder(), projector(), predictor, target)), [Term(1, PushDown())])


def latent(fault: str, features: int) -> Model:
    """The lower half of a digit, given its upper half and a free latent."""
    F = FreeEnergy(Conditional(features), LBFGS(steps=20, tolerance=1e-3))
    return Model(fault, F, [Term(1, PushDown())], pairs="halves")


def barlow(fault: str, projector: Callable[[], nn.Module] = projector) -> Model:
    """Barlow Twins."""
    F = FreeEnergy(JointEmbedding(encoder(), projector()))
    return Model(fault, F, regularizers=[Term(1, CrossCorrelation())])


def lejepa(fault: str) -> Model:
    """LeJEPA."""
    F = FreeEnergy(JointEmbedding(encoder(), projector()))
    return Model(fault, F, [Term(0.245, PushDown())], [Term(0.02, SIGReg())])


def narrow(features: int = 3) -> nn.Sequential:
    """A projector through few features."""
    return nn.Sequential(MLP([64, 256, features], norm=True), nn.Linear(features, WIDTH))


def thin(features: int, frequency: float, width: int = NARROW) -> nn.Sequential:
    """A projector through few features, which it bends through all dimensions."""
    return nn.Sequential(MLP([64, 256, features], norm=True, norm_out=True), Surface(features, width, frequency))


def clustered(temperature: float | None = None) -> nn.Sequential:
    """A projector onto one of eight codes, or onto mixtures of them."""
    return nn.Sequential(
        MLP([64, 256, 32], norm=True, norm_out=True), Nearest(32, 8, temperature), nn.Linear(32, WIDTH)
    )


def predictor() -> MLP:
    """SimSiam's, of the width that `benchmarks/studies/arms/simsiam.yaml` has."""
    return MLP([WIDTH, 32, WIDTH], norm=True)


SLOW = partial(MovingAverage, base=0.99)

# Of SimSiam without its predictor both codes are of one branch, so that it can collapse to one point alone.
MODELS: dict[str, Callable[[], Model]] = {
    "VICReg": partial(vicreg, "none", 25, 1),
    "Barlow Twins": partial(barlow, "none"),
    "SimCLR": partial(contrastive, "none"),
    "LeJEPA": partial(lejepa, "none"),
    "SimSiam": lambda: predictive("none", predictor(), StopGradient),
    "BYOL": lambda: predictive("none", MLP([WIDTH, WIDTH, WIDTH], norm=True), SLOW),
    "latent of 2 features": partial(latent, "none", 2),
    "push-down alone": partial(vicreg, "complete", 0, 0),
    "VICReg without variance": partial(vicreg, "complete", 0, 1),
    "SimSiam without predictor": lambda: predictive("complete", nn.Identity(), StopGradient),
    "VICReg without covariance": partial(vicreg, "dimensional", 25, 0),
    "SimCLR through 3 features": partial(contrastive, "dimensional", narrow),
    "VICReg on a curve": partial(vicreg, "nonlinear", 25, 1, partial(thin, 1, 5.0)),
    "VICReg on a surface": partial(vicreg, "nonlinear", 25, 1, partial(thin, 2, 3.0)),
    "SimCLR on a surface": partial(contrastive, "nonlinear", partial(thin, 2, 3.0)),
    "SimCLR onto 8 codes": partial(contrastive, "cluster", clustered),
    "classes memorised": partial(memorised, "cluster"),
    "latent of 32 features": partial(latent, "latent", 32),
    "SimSiam without stop-gradient": lambda: predictive("target", predictor(), Trained),
    "moving average without predictor": lambda: predictive("target", nn.Identity(), SLOW),
    "frozen target of noise": lambda: predictive("target", predictor(), Noise),
    # Tried while thresholds were chosen, and set aside for what came of them.
    "VICReg on a surface in 128": partial(vicreg, "nonlinear", 25, 1, partial(thin, 2, 6.0, WIDTH)),
    "VICReg on a surface of 3 in 128": partial(vicreg, "nonlinear", 25, 1, partial(thin, 3, 3.0, WIDTH)),
    "SimCLR onto mixtures of 8 codes": partial(contrastive, "cluster", partial(clustered, 0.5)),
    "supervised contrastive": partial(memorised, "cluster", "views"),
    # Thought of when the thresholds stood.
    "SimCLR, temperature .5": partial(contrastive, "none", temperature=0.5),
    "frozen branch for a target": lambda: predictive("none", predictor(), partial(MovingAverage, base=1.0)),
    "VICReg, a hundredth of the variance": partial(vicreg, "complete", 0.25, 1),
    "Barlow Twins through 3 features": partial(barlow, "dimensional", narrow),
    "VICReg through 8 features": partial(vicreg, "dimensional", 25, 1, partial(narrow, 8)),
    "latent of 16 features": partial(latent, "latent", 16),
}
SET_ASIDE = tuple(MODELS)[-10:-6]
THOUGHT_OF_AFTER = tuple(MODELS)[-6:]
