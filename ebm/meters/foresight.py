"""How far ahead a world model sees, and whether its codes have kept apart."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.energies.world_model import Rollouts, unpacked
from ebm.free_energy import FreeEnergy
from ebm.meters.spectrum import effective_rank
from ebm.meters.spread import normalized_std


@torch.no_grad()
def foresight(F: FreeEnergy, hx: Tensor, hy: Tensor) -> dict[str, float]:
    """What is explained of the codes of y after the first and the last action, and the spread and rank of all codes.

    `explained_first` and `explained_last` are `1 - |rollout_t - y_t|^2 / |y_t - mean y_t|^2` over samples and features,
    of `hy` (N, T, D): 1 for a perfect prediction, 0 for one that only knows the mean, and NaN where codes are all the
    same, which is a collapse that a small error hides. `change_last` is what a prediction that nothing changes would
    explain: a model that is no better has learned no dynamics. `trajectory_std`, `trajectory_normalized_std` and
    `trajectory_effective_rank` are of the codes of all times. Latents are zero, the middle of what they are drawn from.

    Blind to what the codes leave out: ask a probe about that. Raises ValueError for another energy than that of
    trajectories.
    """
    energy = getattr(F, "energy", None)
    if not isinstance(energy, Rollouts) or hy.ndim != 3:
        raise ValueError(
            "foresight is that of an energy of trajectories, such as WorldModel, with codes (N, T, D) of y"
        )
    start, actions = unpacked(hx, hy.shape[-1], hy.shape[-2])
    latents = energy.dynamics.transition.latents
    z = hy.new_zeros(*actions.shape[:-1], latents) if latents else None
    predicted = energy.dynamics.rollout(start, actions, z)
    (rows,) = energy.rows(hx, hy)
    return {
        "explained_first": explained(predicted[:, 0], hy[:, 0]),
        "explained_last": explained(predicted[:, -1], hy[:, -1]),
        "change_last": explained(start, hy[:, -1]),
        "trajectory_std": float(rows.double().std(0, correction=0).mean()),
        "trajectory_normalized_std": normalized_std(rows),
        "trajectory_effective_rank": effective_rank(rows),
    }


def explained(predicted: Tensor, truth: Tensor) -> float:
    """`1 - |predicted - truth|^2 / |truth - mean|^2`, sums over rows and features; NaN where the truth never varies."""
    predicted, truth = predicted.double(), truth.double()
    around = (truth - truth.mean(0)).square().sum()
    return float(1 - (predicted - truth).square().sum() / torch.where(around > 0, around, torch.nan))
