"""A student predicts which of many classes its teacher sees, classes that nobody defined: DINO."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from ebm.distances import precisely
from ebm.energies.predictive import MovingAverage, Target
from ebm.energy import Energy
from ebm.networks.mlp import MLP
from ebm.processes import mean


@final
class SelfDistillation(Energy):
    """`E(x, y) = -sum_k p_k(y) log q_k(x)`, `q = softmax(s(x) / T_s)`, `p = softmax((t(y) - centre) / T_t)`.

    DINO: Caron, Touvron, Misra, Jegou, Mairal, Bojanowski, Joulin 2021, eq. 1 to 4: the student `s` is a projector on
    an encoder, the teacher `t` its moving average. Two things prevent collapse, and each alone lets one kind of it
    through: the teacher is sharper than the student (`T_t < T_s`), so that p is not uniform, and centred, so that no
    class takes all. `centre` is a running mean of `t(y)` over batches, of `momentum` 0.9. Temperatures are the paper's,
    whose teacher warms from 0.04 to 0.07 over the first epochs; here it stays at one.

    `classes` is the number of features of the projector's output. The roles of x and y differ: train it `symmetric`.
    """

    centre: Tensor
    batch_mean: Tensor
    batches: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        projector: nn.Module,
        classes: int,
        target: Callable[[nn.Module], Target] = MovingAverage,
        temperature: float = 0.1,
        target_temperature: float = 0.04,
        momentum: float = 0.9,
    ) -> None:
        super().__init__()
        for name, value in {"temperature": temperature, "target_temperature": target_temperature}.items():
            if not value > 0:
                raise ValueError(f"the {name} of a softmax is positive, not {value}")
        self.branch = nn.Sequential(encoder, projector)
        self.target = target(self.branch)
        self.temperature, self.target_temperature, self.momentum = temperature, target_temperature, momentum
        self.register_buffer("centre", torch.zeros(classes))
        self.register_buffer("batch_mean", torch.zeros(classes))
        self.register_buffer("batches", torch.zeros(()))

    @classmethod
    def small(cls) -> SelfDistillation:
        """One for variables of 8 features, for tests."""
        return cls(MLP([8, 16, 6]), MLP([6, 8]), 8)

    def encode(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        hx, hy = self.branch(x), self.target(self.branch, y)
        if hy.shape[-1] != len(self.centre):
            raise ValueError(f"the projector gives {hy.shape[-1]} classes, not {len(self.centre)}: set `classes` to it")
        if self.training:
            # Kept until the optimiser's step: the centre that a batch is judged by is that of the batches before.
            self.batch_mean.add_(mean(hy.detach().to(self.centre.dtype)))
            self.batches.add_(1)
        return hx, hy

    def cost(self, hx: Tensor, hy: Tensor, z: Tensor | None = None) -> Tensor:
        return precisely(lambda a, b: -(self._predicted(a) * self._taught(b)).sum(-1), hx, hy)

    def pairs(self, hx: Tensor, hy: Tensor) -> Tensor:
        return precisely(lambda a, b: -self._predicted(a) @ self._taught(b).T, hx, hy)

    def represent(self, x: Tensor) -> Tensor:
        return self.branch[0](x).flatten(1)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        self.target.after_step(self.branch, progress)
        # No batch since the last step leaves the centre where it is; nothing here waits for the device to tell.
        share = (1 - self.momentum) * self.batches.clamp_max(1)
        self.centre.lerp_(self.batch_mean / self.batches.clamp_min(1), share)
        self.batch_mean.zero_()
        self.batches.zero_()

    def _predicted(self, hx: Tensor) -> Tensor:
        return (hx / self.temperature).log_softmax(-1)

    def _taught(self, hy: Tensor) -> Tensor:
        return ((hy - self.centre) / self.target_temperature).softmax(-1)
