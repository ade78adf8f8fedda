"""Lower bounds on the mutual information of two codes, by a critic that learns which rows go together.

A bound takes scores `T_ij = T(x_i, y_j)`, `(n, n)`: high where x and y go together, such as minus an energy. Pairs on
the diagonal are draws of the joint distribution, those off it of the product of the marginals.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn.functional import softplus

from ebm.meters.codes import checked_pair
from ebm.networks import MLP

ROUNDING = 1e-12
READ = 256  # rows that the critic is read on at a time


class Bound(ABC):
    """What a matrix of scores says of the mutual information, in nats."""

    @abstractmethod
    def value(self, scores: Tensor) -> Tensor:
        """Scores `(n, n)` to a scalar."""

    def objective(self, scores: Tensor) -> Tensor:
        """What a critic is to make large in training: the bound itself, unless said otherwise."""
        return self.value(scores)


@final
@dataclass(frozen=True)
class InfoNCE(Bound):
    """`mean_i [T_ii - log mean_j exp T_ij]`, j over the whole row.  van den Oord, Li, Vinyals 2018; Poole et al. 2019.

    In expectation never above the truth, nor above `log n`, whatever the scores: 5.5 nats of 256 rows. The best critic
    is `log p(y | x)` up to a function of x, and the variance is small: the safe one.
    """

    def value(self, scores: Tensor) -> Tensor:
        return (scores.diagonal() - scores.logsumexp(1)).mean() + math.log(len(scores))


@final
@dataclass(frozen=True)
class NWJ(Bound):
    """`mean_i T_ii - mean_{i != j} exp(T_ij - 1)`.  Nguyen, Wainwright, Jordan 2010; f-GAN KL; MINE-f.

    In expectation never above the truth. The best critic is `1 + log p(x, y) / p(x) p(y)`; what it is off by counts, a
    constant too, and the variance grows as `exp(I) / n`: of more than a few nats it is worth little.
    """

    def value(self, scores: Tensor) -> Tensor:
        return scores.diagonal().mean() - (_log_mean_exp_apart(scores) - 1).exp()


@final
@dataclass(frozen=True)
class DonskerVaradhan(Bound):
    """`mean_i T_ii - log mean_{i != j} exp T_ij`.  Donsker and Varadhan 1983; MINE: Belghazi et al. 2018, eq. 10.

    Of infinitely many rows never above the truth; of n it is above the bound by about half the squared error of the
    mean of exponentials, which grows as `exp(I) / n`. The best critic is `log p(x, y) / p(x) p(y)` up to a constant.
    The gradient in training is that of each batch, `n (n - 1)` pairs for the marginals: without MINE's moving average
    (its eq. 12), which is for batches of n pairs.
    """

    def value(self, scores: Tensor) -> Tensor:
        return scores.diagonal().mean() - _log_mean_exp_apart(scores)


@final
@dataclass(frozen=True)
class SMILE(Bound):
    """`mean_i T_ii - log mean_{i != j} exp(clip(T_ij, -c, c))`.  Song and Ermon 2020, eq. 12; c = 5 as there.

    Not a bound: what is clipped makes it too large, the more so the better x and y go together. In exchange its
    variance stays under `exp(2 c) / n`. Trained, as there, by the Jensen-Shannon objective
    `-mean_i softplus(-T_ii) - mean_{i != j} softplus(T_ij)`, of which the best critic is `log p(x, y) / p(x) p(y)`.
    """

    clip: float = 5.0

    def __post_init__(self) -> None:
        if not self.clip > 0:
            raise ValueError(f"SMILE clips scores at a positive number, got clip={self.clip}")

    def value(self, scores: Tensor) -> Tensor:
        return scores.diagonal().mean() - _log_mean_exp_apart(scores.clamp(-self.clip, self.clip))

    def objective(self, scores: Tensor) -> Tensor:
        return -softplus(-scores.diagonal()).mean() - _apart(softplus(scores)).sum() / (scores.numel() - len(scores))


@final
class Critic(nn.Module):
    """Scores `T_ij = g(relu(A x_i + B y_j + c))` of all pairs, g a perceptron with one more hidden layer."""

    def __init__(self, features_x: int, features_y: int, width: int = 64) -> None:
        super().__init__()
        self.of_x = nn.Linear(features_x, width)
        self.of_y = nn.Linear(features_y, width, bias=False)
        self.both = MLP([width, width, 1])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """`(n, D), (m, E) -> (n, m)`."""
        return self.both((self.of_x(x)[:, None] + self.of_y(y)).relu()).squeeze(-1)


def information_bound(
    x: Tensor,
    y: Tensor,
    bound: Bound | None = None,
    critic: nn.Module | None = None,
    steps: int = 1000,
    batch: int = 64,
    rate: float = 2e-3,
    seed: int = 0,
    progress: bool = False,
) -> float:
    """The mutual information of codes `(N, D)` and `(N, E)` in nats that a critic finds, by `bound` (InfoNCE).

    The critic, `(n, D), (m, E) -> (n, m)` scores, learns on one half of the rows, drawn at random, in batches of
    `batch`, and is read on the other half, 256 rows at a time: what it learned by heart does not count, so the reading
    is a bound in expectation where `bound` is one, and may be below zero. It sees what the critic can learn of N / 2
    rows in so many `steps`: of a spiral of 1.54 nats 1.2. Of two numbers `mutual_information` reads more and sooner.

    Both codes are standardised by the first half, in single precision, on their own device. The same for the same seed
    on one device; the critic that is given and the global generators stay as they are. Raises ValueError for fewer
    than eight rows, and for a critic that does not score all pairs.
    """
    x, y = checked_pair(x, y, rows=8)
    if steps < 1 or batch < 2:
        raise ValueError(f"a critic learns from at least 1 step of at least 2 rows, got steps={steps}, batch={batch}")
    bound, devices = bound or InfoNCE(), [x.device] if x.device.type != "cpu" else []
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices, device_type=x.device.type):
        torch.set_rng_state(generator.get_state())
        learner = (copy.deepcopy(critic) if critic else Critic(x.shape[1], y.shape[1])).to(x.device).train()
        first, second = torch.randperm(len(x), generator=generator).to(x.device).tensor_split(2)
        x, y = _standardised(x, first), _standardised(y, first)
        optimizer = torch.optim.Adam(learner.parameters(), rate)
        for _ in track(range(steps), "critic", disable=not progress):
            rows = first[torch.randperm(len(first), generator=generator)[:batch].to(x.device)]
            optimizer.zero_grad()
            (-bound.objective(_scores(learner, x[rows], y[rows]))).backward()
            optimizer.step()
        return _read(bound, learner.eval(), x[second], y[second])


@torch.no_grad()
def _read(bound: Bound, critic: nn.Module, x: Tensor, y: Tensor) -> float:
    parts = max(1, len(x) // READ)
    batches = zip(x.tensor_split(parts), y.tensor_split(parts), strict=True)
    values = [bound.value(_scores(critic, *some)) for some in batches]
    return float(torch.stack(values).mean())


def _scores(critic: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    scores: Tensor = critic(x, y)
    if scores.shape != (len(x), len(y)):
        raise ValueError(
            f"a critic takes (n, D) and (m, E) to the scores (n, m) of all pairs, got {tuple(scores.shape)} of"
            f" {len(x)} and {len(y)} rows"
        )
    return scores.double()  # exponentials of scores overflow in single precision above 88


def _standardised(codes: Tensor, rows: Tensor) -> Tensor:
    """In single precision, by the means and deviations of some rows; what is constant there is 0."""
    codes = codes / codes.abs().amax(0).clamp_min(torch.finfo(codes.dtype).tiny)
    deviations, centred = codes[rows].std(0), codes - codes[rows].mean(0)
    return torch.where(deviations > ROUNDING, centred / deviations, 0).float()


def _apart(scores: Tensor, fill: float = 0.0) -> Tensor:
    """The scores with something else on the diagonal."""
    return scores.masked_fill(torch.eye(len(scores), dtype=torch.bool, device=scores.device), fill)


def _log_mean_exp_apart(scores: Tensor) -> Tensor:
    """`log mean_{i != j} exp T_ij`."""
    return _apart(scores, -math.inf).flatten().logsumexp(0) - math.log(len(scores) * (len(scores) - 1))
