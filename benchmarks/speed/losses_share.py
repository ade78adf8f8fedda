"""How much of a training step of a ResNet-18 its loss takes, on CUDA."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from itertools import pairwise

import torch
from losses_catalogue import TABLES, codes, step
from losses_time import seconds
from torch import Tensor, nn

from ebm.networks import ResNet18

WANTED = 3.0  # percent, at most


def share(quick: bool) -> list[str]:
    """A Markdown table: a step on two views of 256 images of 32 x 32, projected to 2048 features, under bfloat16."""
    batch, width = (8, 64) if quick else (256, 2048)
    sizes = (512, width, width, width)
    hidden = [(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU()) for a, b in pairwise(sizes[:-1])]
    projector = nn.Sequential(*(layer for layers in hidden for layer in layers), nn.Linear(width, width))
    network = nn.Sequential(ResNet18(), projector).cuda()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images = [torch.randn(batch, 3, 32, 32, device="cuda") for _ in range(2)]
    lines = ["| method | loss ms | step ms | share % | wanted | met |", "| --- | --- | --- | --- | --- | --- |"]
    for name in ("VICReg", "Barlow Twins"):
        for method in ("ebm", "official formula"):
            loss = TABLES[name][method]()
            x, y = codes((batch, width), "cuda", torch.bfloat16)
            alone = _median(lambda loss=loss, x=x, y=y: step(loss, x, y))
            whole = _median(lambda loss=loss: _train(network, optimizer, images, loss))
            percent = 100 * alone / whole
            judged = f"{WANTED:g} | {'yes' if percent <= WANTED else 'no'}" if method == "ebm" else " | "
            lines.append(f"| {name}, {method} | {alone * 1e3:.3g} | {whole * 1e3:.3g} | {percent:.2g} | {judged} |")
    return lines


def _train(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: list[Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> None:
    with torch.autocast("cuda", torch.bfloat16):
        x, y = (network(view) for view in images)
        value = loss(x, y)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()


def _median(call: Callable[[], object]) -> float:
    call()
    return statistics.median(seconds(call, "cuda") for _ in range(5))
