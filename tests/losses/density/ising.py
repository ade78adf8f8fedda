"""Small distributions of discrete variables, every state of which can be listed."""

from __future__ import annotations

from itertools import product

import torch
from conftest import normal
from torch import nn

from ebm import Energy


class Ising(Energy):
    """`-y' W y / 2 - b' y`, for y of zeros and ones, or the concatenated one-hot codes of a Potts model."""

    def __init__(self, features, seed=0):
        super().__init__()
        weights = normal(features, features, seed=seed)
        self.weights = nn.Parameter(weights + weights.T)
        self.bias = nn.Parameter(normal(features, seed=seed + 1))

    def cost(self, hx, hy, z=None):
        y = hy.flatten(1)
        return -(y @ self.weights * y).sum(-1) / 2 - y @ self.bias


def binary_states(features):
    return torch.tensor(list(product([0.0, 1.0], repeat=features)), dtype=torch.float64)


def one_hot_states(sites, values):
    every = torch.tensor(list(product(range(values), repeat=sites)))
    return nn.functional.one_hot(every, values).double()


def probabilities(energy, states):
    return (-energy.cost(None, states)).softmax(0)
