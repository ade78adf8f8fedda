"""What the energy of `told_some` is compared with: a method for each question, each trained for that question alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.covariance import LedoitWolf
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import SVC
from torch import Tensor


@dataclass(frozen=True)
class Rivals:
    """Fitted models of scikit-learn; classifiers of whole images and of upper halves, regressors of lower halves."""

    train: Any
    classifiers: dict[str, Any]
    half_classifiers: dict[str, Any]
    regressors: dict[str, Any]
    support_vectors: SVC

    @classmethod
    def fit(cls, train: Any, width: int, seed: int, epochs: int) -> Rivals:
        """Fit all. The perceptrons have two hidden layers of the width of the decoder's."""
        upper, lower = train.halves["upper"], train.halves["lower"]
        layers = {"hidden_layer_sizes": (width, width), "max_iter": epochs, "random_state": seed}
        regressor = MLPRegressor(**layers, alpha=1e-2, early_stopping=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # what stops at `epochs` is what is compared
            return cls(
                train,
                {name: model.fit(train.x, train.y) for name, model in _classifiers(layers).items()},
                {name: model.fit(upper, train.y) for name, model in _classifiers(layers).items()},
                {
                    "ridge regression": RidgeCV(np.logspace(-3, 3, 13)).fit(upper, lower),
                    "perceptron": regressor.fit(upper, lower),
                },
                SVC(C=10).fit(train.x, train.y),
            )

    def labels(self, x: Tensor) -> dict[str, Tensor]:
        """What each classifier says of whole images, `(n,)`."""
        return {name: torch.from_numpy(model.predict(x)) for name, model in self.classifiers.items()}

    def labels_of_upper_halves(self, upper: Tensor) -> dict[str, Tensor]:
        """What each classifier that was trained on upper halves says of them, `(n,)`."""
        return {name: torch.from_numpy(model.predict(upper)) for name, model in self.half_classifiers.items()}

    def lower_halves(self, upper: Tensor) -> dict[str, Tensor]:
        """What each method fills in below upper halves, `(n, 32)`."""
        known, lower = self.train.halves["upper"], self.train.halves["lower"]
        fitted = {
            name: torch.from_numpy(model.predict(upper)).float().clamp(0, 1) for name, model in self.regressors.items()
        }
        nearest = lower[torch.cdist(upper, known).argmin(1)]
        return fitted | {"nearest neighbour": nearest, "mean image": lower.mean(0).expand(len(upper), -1)}

    def log_probability(self, x: Tensor) -> Tensor:
        """Of each label by the perceptron, `(n, 10)`."""
        return torch.from_numpy(self.classifiers["perceptron"].predict_log_proba(x)).clamp_min(-1e6)

    def judge(self, x: Tensor) -> Tensor:
        """The labels `(n,)` by support vectors: the most accurate of the classifiers, so the judge of what is made."""
        return torch.from_numpy(self.support_vectors.predict(x))


def _classifiers(layers: dict[str, Any]) -> dict[str, Any]:
    return {
        "perceptron": MLPClassifier(**layers),
        "logistic regression": LogisticRegression(max_iter=2000),
        "nearest neighbour": KNeighborsClassifier(1),
    }


def distance_by_label(train: Any, x: Tensor) -> Tensor:
    """The distance of each image to the nearest training image of each label, `(n, 10)`."""
    return torch.stack([torch.cdist(x, train.x[train.y == label]).amin(1) for label in range(10)], 1)


def gaussians(train: Any, labels: Tensor, generator: torch.Generator) -> Any:
    """An image for each of the labels, from a normal distribution with the (shrunk) covariance of that label's."""
    x = torch.empty(len(labels), train.x.shape[1])
    for label in labels.unique():
        images, rows = train.x[train.y == label], labels == label
        covariance = torch.from_numpy(LedoitWolf().fit(images).covariance_).float()
        noise = torch.randn(int(rows.sum()), x.shape[1], generator=generator)
        x[rows] = images.mean(0) + noise @ torch.linalg.cholesky(covariance).T
    return type(train)(x.clamp(0, 1), labels)
