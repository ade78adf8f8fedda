"""Energies of normal distributions, and how to fit them: what the truth is can be written down."""

from __future__ import annotations

import math

import torch
from conftest import normal
from scipy.optimize import brentq
from torch import nn

from ebm import Energy, FreeEnergy

TRUTH = 0.7  # the curvature of the data in the fits


class Bowl(Energy):
    """`k |y - x|^2 / 2`, with x = 0 where it is None: y is normal around x, of variance 1 / k."""

    def __init__(self, k=1.0):
        super().__init__()
        self.k = nn.Parameter(torch.tensor(k, dtype=torch.float64))

    def cost(self, hx, hy, z=None):
        return self.k * (hy if hx is None else hy - hx).square().sum(-1) / 2


class Quadratic(Energy):
    """`y' A y / 2`, for a symmetric A."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(matrix)

    def cost(self, hx, hy, z=None):
        return (hy @ self.matrix * hy).sum(-1) / 2


def symmetric(features, seed=5):
    a = normal(features, features, seed=seed)
    return a @ a.T / features + torch.eye(features, dtype=a.dtype)


def data(n, features, k=TRUTH, seed=0):
    return normal(n, features, seed=seed) / math.sqrt(k)


def slope(loss, energy, hy, seed):
    """The derivative of a loss in k, for one draw of its noise."""
    torch.manual_seed(seed + 1000)  # not the numbers that the data are made of
    return torch.autograd.grad(loss(FreeEnergy(energy), None, hy), energy.k)[0].item()


def fitted(loss, hy, seed=0):
    """The curvature at which a loss is flat, its noise held still."""

    def at(k):
        return slope(loss, Bowl(k), hy, seed)

    return brentq(at, TRUTH / 5, TRUTH * 5, xtol=1e-10)


def fits(loss, features, n=2000, repeats=12):
    """The mean of the fits to as many sets of data, and its standard error."""
    found = torch.tensor([fitted(loss, data(n, features, seed=seed), seed) for seed in range(repeats)])
    return found.mean().item(), found.std().item() / math.sqrt(repeats)
