"""What a simple reader finds in frozen representations: accuracy on images that it was not fitted to.

Representations are divided by one number, the root mean square of all their entries, and nothing else is done to them.
To standardise each feature, as is often done, would blow the noise of a collapsed code up to the size of a signal.
"""

from __future__ import annotations

from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

Labelled = tuple[Tensor, Tensor]  # representations (N, D) and labels (N,)


def linear_probe(train: Labelled, test: Labelled, strength: float = 1.0) -> float:
    """Accuracy on `test` of a logistic regression fitted to `train` (scikit-learn; inverse penalty `strength`).

    It sees what is linearly separable at the scale of the whole code; what is left in a direction of little variance,
    the penalty hides from it.
    """
    (features, labels), (held_out, answers) = _scaled(train, test)
    classifier = LogisticRegression(C=strength, max_iter=1000).fit(features.numpy(), labels.numpy())
    return float(classifier.score(held_out.numpy(), answers.numpy()))


def knn_probe(train: Labelled, test: Labelled, neighbors: int = 5) -> float:
    """Accuracy on `test` of the majority of the nearest `neighbors` in `train`, by Euclidean distance.

    Free of scale: it reads a code that has shrunk almost to a point as well as any other, down to rounding.
    """
    (features, labels), (held_out, answers) = _scaled(train, test)
    classifier = KNeighborsClassifier(min(neighbors, len(features))).fit(features.numpy(), labels.numpy())
    return float(classifier.score(held_out.numpy(), answers.numpy()))


def _scaled(train: Labelled, test: Labelled) -> tuple[Labelled, Labelled]:
    scale = train[0].double().square().mean().sqrt().clamp_min(1e-300)
    return (train[0].double() / scale, train[1]), (test[0].double() / scale, test[1])
