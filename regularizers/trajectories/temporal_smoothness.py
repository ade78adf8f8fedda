"""Codes of times that follow each other stay near each other."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn

from ebm.processes import mean


@final
class TemporalSmoothness(nn.Module):
    """`mean |code_(t+1) - code_t|^2 / D`: the slowness of Wiskott and Sejnowski 2002, as PLDM has it.

    PLDM: Sobal et al. 2025. Alone it is least where all codes are equal: add what keeps codes apart.
    """

    def forward(self, codes: Tensor, actions: Tensor | None = None) -> Tensor:
        """`(batch, T + 1, D)` to a scalar; actions, where there are any, are not looked at.

        Raises ValueError for fewer than two times.
        """
        if codes.ndim != 3 or codes.shape[1] < 2:
            raise ValueError(
                f"smoothness is that of codes (batch, times, features) of at least 2 times, got {tuple(codes.shape)}"
            )
        return mean(codes.diff(dim=1).square().mean(-1).flatten())
