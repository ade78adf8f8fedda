"""Stochastic gradient descent whose rate is of the scale of each layer's weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


@final
class LARS(Optimizer):
    """`v <- momentum v + s (dL/dw + decay w)`, `w <- w - lr v`, `s = trust |w| / (|dL/dw| + decay |w|)`.

    You, Gitman, Ginsburg 2017, algorithm 1, with a share `s` for each tensor of weights; theirs has the rate in `v`,
    which is the same while the rate is. `clip` takes `min(s / lr, 1)` for `s`, so that a step is never longer than
    that of plain gradient descent: the LARC of NVIDIA's Apex, with which recipes for small images use a trust of 0.02.
    The paper's trust is 0.001 (section 5).

    Biases and the scales of normalisation layers, which are vectors, get neither share nor decay, as in SimCLR, BYOL
    and Barlow Twins; `adapt_vectors` gives them both. Nothing in a step waits for the device.

    Raises ValueError unless all of `lr`, `trust`, `momentum`, `weight_decay` are numbers that are not negative.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust: float = 0.001,
        clip: bool = False,
        adapt_vectors: bool = False,
    ) -> None:
        numbers = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust}
        for name, number in numbers.items():
            if not number >= 0:
                raise ValueError(f"the {name} of LARS is a number that is not negative, not {number}")
        super().__init__(params, {**numbers, "clip": clip, "adapt_vectors": adapt_vectors})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if weights:
                self._move(weights, group)
        return loss

    def _move(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients: dict[Tensor, Tensor] = {w: w.grad for w in weights if w.grad is not None}
        adapted = [w for w in weights if w.ndim > 1 or group["adapt_vectors"]]
        gradients |= _adapted({w: gradients[w] for w in adapted}, group)
        for w in weights:
            if not self.state[w]:
                self.state[w]["velocity"] = torch.zeros_like(w)
        velocities: list[Tensor] = [self.state[w]["velocity"] for w in weights]
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, [gradients[w] for w in weights])
        torch._foreach_add_(weights, velocities, alpha=-group["lr"])


def _adapted(gradients: dict[Tensor, Tensor], group: dict[str, Any]) -> dict[Tensor, Tensor]:
    """The gradients of some weights, with decay, each times its share."""
    if not gradients:
        return {}
    weights, slopes, decay = list(gradients), list(gradients.values()), group["weight_decay"]
    long, steep = torch.stack(torch._foreach_norm(weights)), torch.stack(torch._foreach_norm(slopes))
    shares = group["trust"] * long / (steep + decay * long)
    if group["clip"]:
        shares = (shares / group["lr"]).clamp_max(1) if group["lr"] > 0 else torch.ones_like(shares)
    # Weights or gradients that are all zero have no scale to go by.
    shares = torch.where((long > 0) & (steep > 0), shares, 1)
    decayed = torch._foreach_add(slopes, weights, alpha=decay)
    return dict(zip(weights, torch._foreach_mul(decayed, list(shares.unbind())), strict=True))
