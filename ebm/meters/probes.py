"""What a simple reader finds in frozen representations: accuracy on images that it was not fitted to.

Representations are divided by one number, the root mean square of all their entries, and nothing else is done to them.
To standardise each feature, as is often done, would blow the noise of a collapsed code up to the size of a signal.

No reader looks at `test` before it is done. Where a penalty is to be chosen, samples that were left out choose it, or a
`validation` part; `ebm.meters.split` makes the three parts. An epoch chosen by a number here is chosen on `test`: give
another part for that.
"""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import one_hot

from ebm.meters.ridge import PENALTIES, fitted
from ebm.meters.splits import Labelled as Labelled
from ebm.meters.splits import ranks

ENTRIES = 2**24  # of a matrix of distances, at a time


def linear_probe(train: Labelled, test: Labelled, strength: float = 1.0) -> float:
    """Accuracy on `test` of a logistic regression fitted to `train` (scikit-learn; inverse penalty `strength`).

    It sees what is linearly separable at the scale of the whole code; what is left in a direction of little variance,
    the penalty hides from it. On the CPU, and the dearest of the readers: `ridge_probe` is the closed form.
    """
    (features, labels), (held_out, answers) = _scaled(train, test)
    classifier = LogisticRegression(C=strength, max_iter=1000).fit(features.cpu().numpy(), labels.cpu().numpy())
    return float(classifier.score(held_out.cpu().numpy(), answers.cpu().numpy()))


def ridge_probe(train: Labelled, test: Labelled, validation: Labelled | None = None) -> float:
    """Accuracy on `test` of `argmin_(W, b) |X W + b - Y|^2 / N + penalty |W|^2`, Y 1 for the class, else -1.

    In closed form, in float64, on the device of the codes. Of the penalties 1e-6 to 1e2 that with the least squared
    error is taken: over `validation`, else over each sample of `train` from all others (leave one out, in closed form:
    Allen 1974). Sees what `linear_probe` does, and less where a class lies between two others, which least squares
    masks (Hastie et al. 2009, section 4.2); the penalty chosen lets it read directions of less variance.
    """
    (features, labels), (held_out, answers) = _scaled(train, test)
    classes, targets = _targets(labels)
    chosen = None if validation is None else (_scaled(train, validation)[1][0], _targets(validation[1], classes)[1])
    weights, offset = fitted(features, targets, PENALTIES, chosen)
    return _share(classes[(held_out @ weights + offset).argmax(1)], answers)


def sgd_probe(
    train: Labelled, test: Labelled, epochs: int = 20, rate: float = 1.0, batch_size: int = 256, seed: int = 0
) -> float:
    """Accuracy on `test` after the last of `epochs` of a softmax regression by SGD, on the device of the codes.

    Momentum 0.9, the rate falling along a cosine to 0, no penalty: the linear evaluation of He et al. 2020 (MoCo,
    section 4.1), except that codes are centred and that `rate` is in units of one over the largest of their principal
    variances, so that it is free of their scale. In float32. What varies little it does not reach in so few steps,
    which is all that keeps it from the noise. Raises ValueError unless epochs and rate are positive.
    """
    if epochs < 1 or not 0 < rate < math.inf:
        raise ValueError(f"the probe takes at least one epoch at a positive rate, not {epochs} at {rate}")
    (features, labels), (held_out, answers) = _scaled(train, test)
    centre = features.mean(0)
    inputs, others = (features - centre).float(), (held_out - centre).float()
    classes, targets = labels.unique(return_inverse=True)
    variance = torch.linalg.matrix_norm(inputs.T @ inputs / len(inputs), 2).clamp_min(torch.finfo(torch.float32).tiny)
    weights = _descended(inputs, one_hot(targets, len(classes)).float(), (rate / variance, epochs, batch_size, seed))
    return _share(classes[(others @ weights[:-1] + weights[-1]).argmax(1)], answers)


def knn_probe(train: Labelled, test: Labelled, neighbors: int = 5) -> float:
    """Accuracy on `test` of the majority of the nearest `neighbors` in `train`, by Euclidean distance.

    Of classes as frequent among them that with the lowest label. In float64, in blocks, on the device of the codes.
    Free of scale: it reads a code that has shrunk almost to a point as well as any other, down to rounding.
    """
    (features, labels), (held_out, answers) = _scaled(train, test)
    classes, targets = labels.unique(return_inverse=True)
    votes = torch.cat(
        [
            one_hot(targets[_nearest(features, rows, min(neighbors, len(features)))], len(classes)).sum(1)
            for rows in held_out.split(max(1, ENTRIES // len(features)))
        ]
    )
    return _share(classes[votes.argmax(1)], answers)


@final
class FewShot(NamedTuple):
    """Accuracy with few labels."""

    mean: float
    half: float
    """Of the 95 % t-interval over draws of the labelled samples; what the test part adds is not in it."""


def few_shot_probe(train: Labelled, test: Labelled, shots: int = 5, draws: int = 20, seed: int = 0) -> FewShot:
    """Accuracy on `test` of a ridge regression fitted to `shots` samples of each class, over `draws` of them.

    Penalties as in `ridge_probe`, chosen among the few themselves. Sees how well classes are told by few directions of
    much variance. Raises ValueError where a class has fewer samples, or for fewer than two draws.
    """
    (features, labels), (held_out, answers) = _scaled(train, test)
    least = int(labels.unique(return_counts=True)[1].min())
    if not 1 <= shots <= least or draws < 2:
        raise ValueError(
            f"the probe takes 1 to {least} labels of each class, as many as the smallest has, and at least two draws,"
            f" not {shots} labels and {draws} draws"
        )
    classes, targets = _targets(labels)
    found = []
    for draw in range(draws):
        few = ranks(labels, seed * draws + draw)[0] < shots
        weights, offset = fitted(features[few], targets[few], PENALTIES)
        found.append(_share(classes[(held_out @ weights + offset).argmax(1)], answers))
    accuracies = torch.tensor(found, dtype=torch.float64)
    error = float(accuracies.std()) / math.sqrt(draws)
    return FewShot(float(accuracies.mean()), float(student.ppf(0.975, draws - 1)) * error)


def _descended(inputs: Tensor, targets: Tensor, settings: tuple[Tensor, int, int, int]) -> Tensor:
    """Weights `(D + 1, K)`, the last of them the offset, after SGD on the cross-entropy."""
    rate, epochs, batch_size, seed = settings
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.cat([inputs, rate.rsqrt().expand(len(inputs), 1)], 1)  # the offset at the scale of the codes
    weights = inputs.new_zeros(inputs.shape[1], targets.shape[1])
    velocity, batches = torch.zeros_like(weights), math.ceil(len(inputs) / batch_size)
    for epoch in range(epochs):
        order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        for i, rows in enumerate(order.split(batch_size)):
            share = (1 + math.cos(math.pi * (epoch + i / batches) / epochs)) / 2
            x = inputs[rows]
            gradient = x.T @ ((x @ weights).softmax(1) - targets[rows]) / len(rows)
            velocity = 0.9 * velocity + gradient
            weights = weights - share * rate * velocity
    return torch.cat([weights[:-1], weights[-1:] * rate.rsqrt()])


def _nearest(train: Tensor, rows: Tensor, count: int) -> Tensor:
    """The indices `(n, count)` of the nearest rows of `train`, by Euclidean distance."""
    centre = train.mean(0)  # of codes far from the origin |b|^2 - 2 a.b would be rounding alone
    train, rows = train - centre, rows - centre
    # Without |a|^2 of the rows, which is the same for all.
    return (train.square().sum(1) - 2 * rows @ train.T).topk(count, dim=1, largest=False).indices


def _targets(labels: Tensor, classes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The classes, and 1 for that of each sample and -1 for the others, `(N, K)` in float64."""
    classes = labels.unique() if classes is None else classes
    return classes, 2 * (labels[:, None] == classes).double() - 1


def _share(found: Tensor, answers: Tensor) -> float:
    return float((found == answers).double().mean())


def _scaled(train: Labelled, test: Labelled) -> tuple[Labelled, Labelled]:
    scale = train[0].double().square().mean().sqrt().clamp_min(1e-300)
    return (train[0].double() / scale, train[1]), (test[0].double() / scale, test[1])
