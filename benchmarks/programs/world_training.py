"""What programs about worlds share: a model is trained on trajectories, and read by a probe."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ebm.data import TrajectoryPairs
from ebm.data.source import Split
from ebm.learner import Learner, rate
from ebm.networks import MLP


def small_encoder(channels: int, features: int) -> nn.Module:
    """Three convolutions of stride 2 and a linear layer, for pictures of 32 x 32."""
    layers: list[nn.Module] = []
    for into, out in ((channels, 16), (16, 32), (32, 32)):
        layers += [nn.Conv2d(into, out, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, features))


def rows(data: TrajectoryPairs, split: Split) -> tuple[Tensor, Tensor]:
    """All trajectories, `(count, times, ...)`, and what was done, `(count, times - 1, actions)`."""
    return cast("tuple[Tensor, Tensor]", cast(TensorDataset, data.source.load(split)).tensors)


def train(
    learner: Learner,
    data: TrajectoryPairs,
    steps: int,
    batch: int = 48,
    full_rate: float = 1e-3,
    told: Callable[[int, dict[str, Tensor]], None] | None = None,
) -> float:
    """Minimise the terms of `learner` by Adam, its rate falling along a cosine; the CPU seconds that it took.

    Batches are drawn from all trajectories at once, on their device. `told` is called after each step.
    """
    states, actions = rows(data, "train")
    optimizer = torch.optim.Adam([p for p in learner.parameters() if p.requires_grad], full_rate)
    begun = time.process_time()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = full_rate * rate(step, steps, 0.0, 0.05)
        chosen = torch.randint(len(states), (batch,), device=states.device)
        terms, _, _ = learner.terms(*data.pieces(states[chosen], actions[chosen]))
        optimizer.zero_grad()
        torch.stack(list(terms.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 5.0)
        optimizer.step()
        learner.F.energy.after_step((step + 1) / steps)
        if told is not None:
            told(step + 1, {name: value.detach() for name, value in terms.items()})
    return time.process_time() - begun


def probe(codes: Tensor, truth: Tensor, hidden: int = 64, steps: int = 800, batch: int = 512) -> nn.Module:
    """A small network from codes `(N, D)` to what is true of them `(N, k)`, by least squares; its weights are fixed."""
    centre, scale = truth.mean(0), truth.std(0).clamp_min(1e-6)
    network = nn.Sequential(MLP([codes.shape[1], hidden, truth.shape[1]]), Affine(centre, scale)).to(codes)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * rate(step, steps, 0.0, 0.02)
        chosen = torch.randint(len(codes), (batch,), device=codes.device)
        loss = ((network(codes[chosen]) - truth[chosen]) / scale).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval().requires_grad_(False)


class Affine(nn.Module):
    """`centre + scale * x`."""

    def __init__(self, centre: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """`(*batch, k)` to as many."""
        return self.centre + self.scale * x


def r_squared(found: Tensor, truth: Tensor) -> float:
    """`1 - |found - truth|^2 / |truth - mean|^2`, of all features together, `(N, k)`."""
    return float(1 - (found - truth).square().sum() / (truth - truth.mean(0)).square().sum())
