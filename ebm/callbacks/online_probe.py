"""A linear classifier of the representation that learns beside it."""

from __future__ import annotations

from typing import Any, final

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ebm.data.pairs import Pairs


@final
class OnlineProbe(pl.Callback):
    """Logs `probe/online`, the accuracy on held-out images of a linear classifier that is trained along the way.

    Each batch of training is one of its steps too, on the representation of x as it stands in evaluation mode, from
    which no derivative goes back. Stochastic gradient descent at `rate` times what the learner's schedule leaves of its
    own rate. Cheaper than `Probing` where a representation has hundreds of features of tens of thousands of images,
    and a little worse, since the representation moves under it. The data have to be asked for `labels`.
    """

    def __init__(self, classes: int, rate: float = 0.1, momentum: float = 0.9, weight_decay: float = 0.0) -> None:
        if classes < 2:
            raise ValueError(f"a classifier tells at least 2 classes apart, not {classes}")
        self.classes = classes
        self.rate, self.momentum, self.weight_decay = rate, momentum, weight_decay
        self.classifier: nn.Linear | None = None  # made when the number of features is known
        self.optimizer: torch.optim.Optimizer | None = None
        self.restored: dict[str, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, Pairs) or not data.labels:
            raise ValueError("OnlineProbe learns from labels, which the data do not give: set data.labels to true")
        images, _ = next(iter(data.labelled("test")))
        features = self._represent(trainer, pl_module, images[:2].to(pl_module.device)).shape[1]
        self.classifier = nn.utils.skip_init(nn.Linear, features, self.classes, device=pl_module.device)
        for weight in self.classifier.parameters():
            nn.init.zeros_(weight)  # the loss is convex: nothing has to be drawn, which would change all that is after
        self.optimizer = torch.optim.SGD(
            self.classifier.parameters(), lr=self.rate, momentum=self.momentum, weight_decay=self.weight_decay
        )
        if self.restored:
            self.classifier.load_state_dict(self.restored["classifier"])
            self.optimizer.load_state_dict(self.restored["optimizer"])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert self.classifier is not None
        assert self.optimizer is not None
        x, _, labels = batch
        group = trainer.optimizers[0].param_groups[0]
        self.optimizer.param_groups[0]["lr"] = self.rate * group["lr"] / group["initial_lr"]
        self.optimizer.zero_grad()
        with torch.enable_grad():
            cross_entropy(self.classifier(self._represent(trainer, pl_module, x)), labels).backward()
        self.optimizer.step()

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.sanity_checking or self.classifier is None:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        right, count = torch.zeros((), device=pl_module.device), 0
        for images, labels in data.labelled("test"):
            scores = self.classifier(self._represent(trainer, pl_module, images.to(pl_module.device)))
            right += (scores.argmax(1) == labels.to(pl_module.device)).sum()
            count += len(labels)
        pl_module.log("probe/online", right / count)

    def state_dict(self) -> dict[str, Any]:
        if self.classifier is None or self.optimizer is None:
            return self.restored
        return {"classifier": self.classifier.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.restored = state_dict

    @torch.no_grad()
    def _represent(self, trainer: pl.Trainer, learner: pl.LightningModule, images: Tensor) -> Tensor:
        training = learner.training
        learner.eval()
        try:
            with trainer.precision_plugin.forward_context():
                return learner(images).float()
        finally:
            learner.train(training)
