"""Dimensional collapse of a linear network under InfoNCE: singular values as trained, and as theory has them.

    python benchmarks/programs/linear_dynamics.py --layers=2 --amplitude=0.1 --seed=0

Jing, Vincent, LeCun, Tian 2022: for codes `M x` of a product `M` of weights, the gradient of InfoNCE at temperature one
over energies `|M (x - y)|^2 / 2` is `-M X` with

    X = mean_i [ sum_j alpha_ij (x_i - y_j) (x_i - y_j)^T - (x_i - y_i) (x_i - y_i)^T ],   alpha the softmax over j.

So one layer follows `W' = W X`, and two `W1' = W2^T W2 W1 X`, `W2' = W2 W1 X W1^T`. A direction in which X is negative,
since the augmentation is stronger than what negatives push, shrinks to nothing. Where the layers are aligned (the left
singular vectors of W1 are the right ones of W2) their k-th singular values follow `s1' = s1 s2^2 v^T X v` and `s2' = s2
s1^2 v^T X v`, so that small ones grow slower in proportion. Negatives are codes of the other view, as in `ebm.losses.
InfoNCE`; in the paper they are of the same one.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor, nn

from ebm import FreeEnergy
from ebm.energies import JointEmbedding
from ebm.losses import InfoNCE
from ebm.study.program import publish

FEATURES, NOISY = 16, 8  # of the data, and those of them that the augmentation adds noise to, as in the paper
ROWS = 128  # of a batch, which is how many alternatives each has
BATCHES = 6  # that the mean of X is taken over, in theory
RATE = 0.05
RECORDS = 40  # times at which singular values are compared
VANISHED = 0.05  # a singular value is gone below this share of the largest

Weights = list[Tensor]
Pairs = tuple[Tensor, Tensor]


class Paths(NamedTuple):
    """Singular values of the product of all layers over time, `(RECORDS, FEATURES)`, largest first."""

    times: np.ndarray
    trained: np.ndarray
    flowed: np.ndarray
    aligned: np.ndarray | None  # of two layers
    eigenvalues: np.ndarray  # of X along the flow
    alignment: np.ndarray  # mean |diagonal of V2^T U1| along the flow; 1 for one layer
    rate_errors: np.ndarray  # of `s1 s2^2 v^T X v` for `s1'` along the flow, relative; 0 for one layer


def draw(batches: int, amplitude: float, generator: torch.Generator) -> Pairs:
    """Two views `(batches, ROWS, FEATURES)` of standard normal points, with noise of that deviation on the last."""
    clean = torch.randn(batches, ROWS, FEATURES, generator=generator, dtype=torch.double)
    scale = torch.zeros(FEATURES, dtype=torch.double)
    scale[-NOISY:] = amplitude
    noise = torch.randn(2, *clean.shape, generator=generator, dtype=torch.double)
    return clean + scale * noise[0], clean + scale * noise[1]


def drawn_weights(layers: int, size: float, generator: torch.Generator) -> Weights:
    """Square matrices of normal entries, whose singular values lie between 0 and `2 size`."""
    return [
        size * torch.randn(FEATURES, FEATURES, generator=generator, dtype=torch.double) / FEATURES**0.5
        for _ in range(layers)
    ]


def product(weights: Weights) -> Tensor:
    """`W_L ... W_1`."""
    total = weights[0]
    for weight in weights[1:]:
        total = weight @ total
    return total


def push(total: Tensor, pairs: Pairs) -> Tensor:
    """The matrix X at a product `total` of weights, `(FEATURES, FEATURES)`, the mean over batches."""
    x, y = pairs
    hx, hy = x @ total.T, y @ total.T
    attention = (hx @ hy.mT - hy.square().sum(-1)[:, None] / 2).softmax(-1)  # |hx|^2 is common to all y
    across = x.mT @ attention @ y
    apart = x.mT @ x + y.mT @ (attention.sum(1)[..., None] * y) - across - across.mT
    return ((apart - (x - y).mT @ (x - y)) / x.shape[1]).mean(0)


def slopes(weights: Weights, pairs: Pairs) -> Weights:
    """How the weights move in gradient flow, by the equations above."""
    force = product(weights) @ push(product(weights), pairs)
    if len(weights) == 1:
        return [force]
    first, second = weights
    return [second.T @ force, force @ first.T]


def learner(weights: Weights) -> tuple[FreeEnergy, InfoNCE]:
    """The same network in terms of this package: energies `|M (x - y)|^2 / FEATURES`, whose temperature makes up."""
    layers = [nn.Linear(FEATURES, FEATURES, bias=False, dtype=torch.double) for _ in weights]
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight = nn.Parameter(weight.clone())
    return FreeEnergy(JointEmbedding(nn.Sequential(*layers))), InfoNCE(temperature=2 / FEATURES)


def train(weights: Weights, batch: Callable[[], Pairs], steps: int) -> np.ndarray:
    """Singular values of the product along stochastic gradient descent, a fresh batch a step."""
    F, loss = learner(weights)
    optimizer = torch.optim.SGD(F.parameters(), RATE)
    marks, path = set(_marks(steps)), []
    for step in range(steps + 1):
        if step in marks:
            path.append(_spectrum([p.detach() for p in F.parameters()]))
        optimizer.zero_grad()
        loss(F, *F.energy.encode(*(view[0] for view in batch()))).backward()
        optimizer.step()
    return np.stack(path)


def flow(weights: Weights, pairs: Pairs, times: np.ndarray) -> list[Weights]:
    """The weights at those times along the gradient flow of these batches."""

    def slope(_: float, state: np.ndarray) -> np.ndarray:
        return torch.stack(slopes(list(_folded(state)), pairs)).flatten().numpy()

    return [list(_folded(state)) for state in _solved(slope, torch.stack(weights).flatten().numpy(), times)]


def aligned(weights: Weights, pairs: Pairs, times: np.ndarray) -> np.ndarray:
    """Singular values of the product by the equations of two aligned layers, whose directions stay as they are."""
    _, _, directions = torch.linalg.svd(weights[0])

    def slope(_: float, state: np.ndarray) -> np.ndarray:
        first, second = np.split(state, 2)
        force = push(torch.from_numpy(first * second)[:, None] * directions, pairs)
        growth = (directions @ force @ directions.T).diagonal().numpy()
        return np.concatenate([first * second**2 * growth, second * first**2 * growth])

    start = np.concatenate([torch.linalg.svdvals(weight).numpy() for weight in weights])
    first, second = np.split(_solved(slope, start, times), 2, axis=1)
    return -np.sort(-first * second, axis=1)


def simulate(layers: int, amplitude: float, size: float, steps: int, seed: int) -> Paths:
    """One network trained, and what theory says of it."""
    generator = torch.Generator().manual_seed(seed)
    weights = drawn_weights(layers, size, generator)
    pairs = draw(BATCHES, amplitude, generator)
    times = RATE * np.array(_marks(steps))
    path = flow(weights, pairs, times)
    return Paths(
        times=times,
        trained=train(weights, lambda: draw(1, amplitude, generator), steps),
        flowed=np.stack([_spectrum(at) for at in path]),
        aligned=aligned(weights, pairs, times) if layers == 2 else None,
        eigenvalues=np.stack([torch.linalg.eigvalsh(push(product(at), pairs)).numpy() for at in path]),
        alignment=np.array([_alignment(at) for at in path]),
        rate_errors=np.array([_rate_error(at, pairs) for at in path]),
    )


def gradient_error(layers: int, amplitude: float, size: float, seed: int) -> float:
    """By how much the equations differ from the gradient of the loss, relative to it."""
    generator = torch.Generator().manual_seed(seed)
    weights, pairs = drawn_weights(layers, size, generator), draw(1, amplitude, generator)
    F, loss = learner(weights)
    loss(F, *F.energy.encode(*(view[0] for view in pairs))).backward()
    exact = torch.stack([-p.grad for p in F.parameters() if p.grad is not None])
    return float((torch.stack(slopes(weights, pairs)) - exact).norm() / exact.norm())


def numbers(paths: Paths) -> dict[str, float]:
    """What is compared."""
    found = {}
    for name, path in (("trained", paths.trained), ("flowed", paths.flowed), ("aligned", paths.aligned)):
        values = np.full((1, 1), np.nan) if path is None else path
        share = values[-1] / values[-1, 0]
        found[f"{name}/largest"], found[f"{name}/smallest"] = float(values[-1, 0]), float(values[-1, -1])
        found[f"{name}/vanished"] = float("nan") if path is None else float((share < VANISHED).sum())
        found[f"{name}/error"] = float("nan") if path is None else _distance(path, paths.trained)
    found["push/negative_at_first"] = float((paths.eigenvalues[0] < 0).sum())
    found["push/negative_at_last"] = float((paths.eigenvalues[-1] < 0).sum())
    found["push/lowest"] = float(paths.eigenvalues.min())
    for name, path in (("alignment", paths.alignment), ("rate_error", paths.rate_errors)):
        found[f"{name}/at_first"], found[f"{name}/at_last"] = float(path[0]), float(path[-1])
    return found


def _distance(path: np.ndarray, trained: np.ndarray) -> float:
    """`|s - s_trained| / |s_trained|`, the mean over time."""
    return float((np.linalg.norm(path - trained, axis=1) / np.linalg.norm(trained, axis=1)).mean())


def _marks(steps: int) -> list[int]:
    return [round(steps * i / (RECORDS - 1)) for i in range(RECORDS)]


def _folded(state: np.ndarray) -> Tensor:
    return torch.from_numpy(state.copy()).view(-1, FEATURES, FEATURES)


def _spectrum(weights: Weights) -> np.ndarray:
    return torch.linalg.svdvals(product(weights)).numpy()


def _solved(slope: Callable[[float, np.ndarray], np.ndarray], start: np.ndarray, times: np.ndarray) -> np.ndarray:
    """States at those times, `(RECORDS, ...)`, by an adaptive Runge-Kutta method."""
    return solve_ivp(slope, (0, times[-1]), start, "RK23", times, rtol=1e-4, atol=1e-6).y.T


def _alignment(weights: Weights) -> float:
    decompositions = [torch.linalg.svd(weight) for weight in weights]
    cosines = [(b.Vh @ a.U).diagonal().abs().mean() for a, b in pairwise(decompositions)]
    return float(cosines[0]) if cosines else 1.0


def _rate_error(weights: Weights, pairs: Pairs) -> float:
    """By how much the equation of aligned layers is off for the singular values of the first of them."""
    if len(weights) == 1:
        return 0.0
    left, values, directions = torch.linalg.svd(weights[0])
    force = push(product(weights), pairs)
    expected = values * torch.linalg.svdvals(weights[1]).square() * (directions @ force @ directions.T).diagonal()
    found = (left.T @ slopes(weights, pairs)[0] @ directions.T).diagonal()
    return float((expected - found).norm() / found.norm())


def main() -> None:
    """The numbers of one network, as the last line of what is printed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, choices=(1, 2), default=2, help="of the network (%(default)s)")
    parser.add_argument("--amplitude", type=float, default=0.1, help="of the augmentation's noise (%(default)s)")
    parser.add_argument("--size", type=float, default=0.3, help="of the first weights (%(default)s)")
    parser.add_argument("--steps", type=int, default=1500, help="of training (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and data (%(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    paths = simulate(options.layers, options.amplitude, options.size, options.steps, options.seed)
    error = gradient_error(options.layers, options.amplitude, options.size, options.seed)
    publish(numbers(paths) | {"gradient/error": error})


if __name__ == "__main__":
    main()
