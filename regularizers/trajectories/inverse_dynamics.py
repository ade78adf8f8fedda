"""What was done can be told from the codes before and after."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from ebm.processes import mean


@final
class InverseDynamics(nn.Module):
    """`mean |network(code_t, code_(t+1)) - action_t|^2 / A`: codes keep what actions change.

    Pathak et al. 2017, section 2.2; PLDM: Sobal et al. 2025.

    The network is part of the term, and is trained with the codes. What no action changes it does not see.
    """

    def __init__(self, features: int, actions: int, hidden: Sequence[int] = (64,)) -> None:
        super().__init__()
        if features < 1 or actions < 1:
            raise ValueError(f"inverse dynamics need features and actions, not {features} and {actions}")
        self.features, self.actions = features, actions
        layers: list[nn.Module] = []
        for into, out in pairwise([2 * features, *hidden, actions]):
            layers += [nn.Linear(into, out), nn.ReLU()]
        self.network = nn.Sequential(*layers[:-1])

    def forward(self, codes: Tensor, actions: Tensor) -> Tensor:
        """`(batch, T + 1, D), (batch, T, A)` to a scalar.

        Raises ValueError where times or features are not those.
        """
        pairs = torch.cat([codes[:, :-1], codes[:, 1:]], -1)
        found = (codes.shape[-1], actions.shape[-1])
        if found != (self.features, self.actions) or pairs.shape[:2] != actions.shape[:2]:
            raise ValueError(
                f"inverse dynamics of {self.features} features and {self.actions} actions take codes (batch, T + 1,"
                f" features) and actions (batch, T, actions), got {tuple(codes.shape)} and {tuple(actions.shape)}"
            )
        return mean((self.network(pairs) - actions).square().mean(-1).flatten())
