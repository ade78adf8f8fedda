"""A code should be standard normal, by its characteristic function along random directions."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor

from ebm.regularizers.slices import SlicedTest


@final
class SIGReg(SlicedTest):
    """`N integral |mean_n exp(i t a.h_n) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt`, mean over unit directions `a`.

    LeJEPA: Balestriero and LeCun 2025; the statistic of Epps and Pulley 1983, times the size N of the batch as in
    both paper and code. The integral is over both signs of t, by the trapezoid rule on `knots` in `[0, reach]`,
    doubled. Defaults are the official code's (MINIMAL.md): 17 knots in [0, 3]. Algorithm 1 of the paper has 17 in
    [-5, 5], which are `knots=9, reach=5`: it takes codes that lie 2 pi / (5 / 8) = 10 apart for the same; the code,
    34. Both draw 256 directions; the official README 1024.
    """

    def __init__(self, slices: int = 256, knots: int = 17, reach: float = 3.0) -> None:
        super().__init__(slices)
        if knots < 2:
            raise ValueError(f"SIGReg integrates between at least 2 knots, got knots={knots}")
        self.knots, self.reach = knots, reach

    def statistic(self, samples: Tensor) -> Tensor:
        step = self.reach / (self.knots - 1)
        turn = samples * step
        cos_turn, sin_turn = turn.cos(), turn.sin()
        cos, sin = torch.ones_like(turn), torch.zeros_like(turn)
        integral = samples.new_zeros(len(samples))
        for knot in range(1, self.knots):  # at t = 0 both functions are 1
            # By angle addition: a cosine costs many times what two products do.
            cos, sin = cos * cos_turn - sin * sin_turn, sin * cos_turn + cos * sin_turn
            normal = math.exp(-((knot * step) ** 2) / 2)
            weight = step * normal * (1 if knot == self.knots - 1 else 2)
            integral = integral + weight * ((cos.mean(-1) - normal).square() + sin.mean(-1).square())
        return samples.shape[-1] * integral
