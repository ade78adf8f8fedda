"""What the two contrastive divergences share: chains that are moved, and what is learned from where they end."""

from __future__ import annotations

import torch
from torch import Tensor

from ebm.energy import Variable
from ebm.free_energy import FreeEnergy, refuse_coupling
from ebm.losses.density.density_loss import energies_of_each
from ebm.sample import sample
from ebm.samplers.sampler import Sampler


def moved(F: FreeEnergy, hx: Variable, start: Tensor, sampler: Sampler, steps: int, temperature: float) -> Tensor:
    """Where so many steps lead from `start` (n, ...), a chain for each sample; no derivative goes through it.

    Raises ValueError where `cost` runs a module that mixes samples, such as batch normalisation in training mode.
    """
    given = () if hx is None else (hx.detach(),)

    def energy(y: Tensor, hx: Variable = None) -> Tensor:
        return F(hx, y)

    with refuse_coupling(F.energy):
        walk = sample(energy, start, sampler, draws=1, warmup=steps - 1, temperature=temperature, given=given)
    return walk.z[0]


def differences(F: FreeEnergy, hx: Variable, hy: Tensor, negatives: Tensor, l2: float) -> Tensor:
    """`F(y) - F(y') + l2 (F(y)^2 + F(y')^2)`, `(n,)`."""
    both = energies_of_each(F, hx, torch.stack([hy, negatives]))
    value = both[0] - both[1]
    return value + l2 * both.square().sum(0) if l2 else value
